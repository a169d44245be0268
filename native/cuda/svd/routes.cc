#include "cuda/svd/routes.h"

#include <cstddef>
#include <limits>

namespace sigma::cuda {
namespace {

template <class T>
constexpr cudaDataType kType = sizeof(T) == sizeof(double) ? CUDA_R_64F : CUDA_R_32F;

// The buffers of a routine for a batch. Of a square U or V, only the leading columns are used.
template <class T>
struct Operands {
  Operands(const SvdBatch& batch, int64_t u_columns)
      : rows(batch.shape.rows()), columns(batch.shape.columns()), u_item(rows * u_columns),
        a(batch.lane, batch.count * rows * columns), u(batch.lane, batch.count * u_item),
        v(batch.lane, batch.count * columns * columns), s(batch.lane, batch.count * columns),
        info(batch.lane, batch.count) {
    svd_load<T>(batch, a.data());
    info.zero();
  }
  T* a_of(int64_t item) const { return a.data() + item * rows * columns; }
  T* u_of(int64_t item) const { return u.data() + item * u_item; }
  T* v_of(int64_t item) const { return v.data() + item * columns * columns; }
  T* s_of(int64_t item) const { return s.data() + item * columns; }

  // `transposed`: v holds Vᵀ.
  std::vector<bool> store(const SvdBatch& batch, bool transposed) const {
    const int64_t component = transposed ? columns : 1, vector = transposed ? 1 : columns;
    svd_store<T, T>(batch, s.data(), {u.data(), u_item, 1, rows, nullptr},
                    {v.data(), columns * columns, component, vector, nullptr});
    return svd_solved(info);
  }

  int64_t rows, columns, u_item;
  SvdNumbers<T> a, u, v, s;
  SvdNumbers<int> info;
};

// gesvdj for float and double.
template <class T>
struct Jacobi;
template <>
struct Jacobi<float> {
  static constexpr auto size = &Libraries::cusolverDnSgesvdj_bufferSize;
  static constexpr auto solve = &Libraries::cusolverDnSgesvdj;
  static constexpr auto batched_size = &Libraries::cusolverDnSgesvdjBatched_bufferSize;
  static constexpr auto batched_solve = &Libraries::cusolverDnSgesvdjBatched;
};
template <>
struct Jacobi<double> {
  static constexpr auto size = &Libraries::cusolverDnDgesvdj_bufferSize;
  static constexpr auto solve = &Libraries::cusolverDnDgesvdj;
  static constexpr auto batched_size = &Libraries::cusolverDnDgesvdjBatched_bufferSize;
  static constexpr auto batched_solve = &Libraries::cusolverDnDgesvdjBatched;
};

template <class T>
std::vector<bool> jacobi_batched(const SvdBatch& batch) {
  const Libraries& l = libraries();
  const SvdLane& lane = batch.lane;
  const int m = static_cast<int>(batch.shape.rows()), n = static_cast<int>(batch.shape.columns());
  const int count = svd_int(batch.count, "gesvdj");
  const Operands<T> o(batch, m);  // the batched routine has no thin U
  int length = 0;
  check(
      (l.*Jacobi<T>::batched_size)(lane.solver(), CUSOLVER_EIG_MODE_VECTOR, m, n, o.a.data(), /* lda = */ m, o.s.data(),
                                   o.u.data(), /* ldu = */ m, o.v.data(), /* ldv = */ n, &length, lane.jacobi(), count),
      "gesvdj");
  const Memory work = lane.workspace(svd_length(length, "gesvdj") * sizeof(T));
  check((l.*Jacobi<T>::batched_solve)(lane.solver(), CUSOLVER_EIG_MODE_VECTOR, m, n, o.a.data(), /* lda = */ m,
                                      o.s.data(), o.u.data(), /* ldu = */ m, o.v.data(), /* ldv = */ n,
                                      static_cast<T*>(work.data()), length, o.info.data(), lane.jacobi(), count),
        "gesvdj");
  return o.store(batch, false);
}

template <class T>
std::vector<bool> jacobi_looped(const SvdBatch& batch) {
  const Libraries& l = libraries();
  const SvdLane& lane = batch.lane;
  svd_int(batch.shape.size(), "gesvdj");
  const int m = static_cast<int>(batch.shape.rows()), n = static_cast<int>(batch.shape.columns());
  constexpr int kThin = 1;
  const Operands<T> o(batch, n);
  for (int64_t i = 0; i < batch.count; ++i) {
    int length = 0;
    check((l.*Jacobi<T>::size)(lane.solver(), CUSOLVER_EIG_MODE_VECTOR, kThin, m, n, o.a_of(i), /* lda = */ m,
                               o.s_of(i), o.u_of(i), /* ldu = */ m, o.v_of(i), /* ldv = */ n, &length, lane.jacobi()),
          "gesvdj");
    const Memory work = lane.workspace(svd_length(length, "gesvdj") * sizeof(T));
    check((l.*Jacobi<T>::solve)(lane.solver(), CUSOLVER_EIG_MODE_VECTOR, kThin, m, n, o.a_of(i), /* lda = */ m,
                                o.s_of(i), o.u_of(i), /* ldu = */ m, o.v_of(i), /* ldv = */ n,
                                static_cast<T*>(work.data()), length, o.info.data() + i, lane.jacobi()),
          "gesvdj");
  }
  return o.store(batch, false);
}

}  // namespace

std::vector<bool> svd_solved(const SvdNumbers<int>& info) {
  std::vector<bool> solved;
  for (const int value : info.read()) solved.push_back(value == 0);
  return solved;
}

int svd_int(int64_t size, const char* routine) {
  if (size > std::numeric_limits<int>::max()) {
    throw Failure(SIGMA_UNSUPPORTED, std::string(routine) + ": a size of " + std::to_string(size) +
                                         " exceeds the 32-bit integers of cuSOLVER");
  }
  return static_cast<int>(size);
}

size_t svd_length(int length, const char* routine) {
  if (length < 0)
    throw Failure(SIGMA_UNSUPPORTED, std::string(routine) + ": the workspace size overflows the 32 bits of cuSOLVER");
  return static_cast<size_t>(length);
}

template <class T>
std::vector<bool> svd_gesvdj(const SvdBatch& batch) {
  return fits_batched_jacobi(batch.shape) ? jacobi_batched<T>(batch) : jacobi_looped<T>(batch);
}

template <class T>
std::vector<bool> svd_gesvdp(const SvdBatch& batch) {
  const Libraries& l = libraries();
  const SvdLane& lane = batch.lane;
  const int64_t m = batch.shape.rows(), n = batch.shape.columns();
  constexpr int kThin = 1;
  constexpr cudaDataType type = kType<T>;
  const Operands<T> o(batch, n);
  for (int64_t i = 0; i < batch.count; ++i) {
    size_t device_bytes = 0, host_bytes = 0;
    check(l.cusolverDnXgesvdp_bufferSize(lane.solver(), lane.params(), CUSOLVER_EIG_MODE_VECTOR, kThin, m, n, type,
                                         o.a_of(i), /* lda = */ m, type, o.s_of(i), type, o.u_of(i), /* ldu = */ m,
                                         type, o.v_of(i), /* ldv = */ n, type, &device_bytes, &host_bytes),
          "gesvdp");
    const Memory work = lane.workspace(device_bytes);
    std::vector<std::byte> host_work(host_bytes);
    double perturbation = 0;  // of s; unused, because the accuracy check detects a large one
    const cusolverStatus_t status = l.cusolverDnXgesvdp(
        lane.solver(), lane.params(), CUSOLVER_EIG_MODE_VECTOR, kThin, m, n, type, o.a_of(i), /* lda = */ m, type,
        o.s_of(i), type, o.u_of(i), /* ldu = */ m, type, o.v_of(i), /* ldv = */ n, type, work.data(), device_bytes,
        host_work.data(), host_bytes, o.info.data() + i, &perturbation);
    lane.wait();  // before host_work is freed, even on failure
    check(status, "gesvdp");
  }
  return o.store(batch, false);
}

template <class T>
std::vector<bool> svd_gesvd(const SvdBatch& batch) {
  const Libraries& l = libraries();
  const SvdLane& lane = batch.lane;
  const int64_t m = batch.shape.rows(), n = batch.shape.columns();
  constexpr signed char kThin = 'S';
  constexpr cudaDataType type = kType<T>;
  const Operands<T> o(batch, n);
  for (int64_t i = 0; i < batch.count; ++i) {
    size_t device_bytes = 0, host_bytes = 0;
    check(l.cusolverDnXgesvd_bufferSize(lane.solver(), lane.params(), kThin, kThin, m, n, type, o.a_of(i),
                                        /* lda = */ m, type, o.s_of(i), type, o.u_of(i), /* ldu = */ m, type, o.v_of(i),
                                        /* ldv = */ n, type, &device_bytes, &host_bytes),
          "gesvd");
    const Memory work = lane.workspace(device_bytes);
    std::vector<std::byte> host_work(host_bytes);
    const cusolverStatus_t status =
        l.cusolverDnXgesvd(lane.solver(), lane.params(), kThin, kThin, m, n, type, o.a_of(i), /* lda = */ m, type,
                           o.s_of(i), type, o.u_of(i), /* ldu = */ m, type, o.v_of(i), /* ldv = */ n, type, work.data(),
                           device_bytes, host_work.data(), host_bytes, o.info.data() + i);
    lane.wait();
    check(status, "gesvd");
  }
  return o.store(batch, true);
}

template std::vector<bool> svd_gesvdj<float>(const SvdBatch&);
template std::vector<bool> svd_gesvdj<double>(const SvdBatch&);
template std::vector<bool> svd_gesvdp<float>(const SvdBatch&);
template std::vector<bool> svd_gesvdp<double>(const SvdBatch&);
template std::vector<bool> svd_gesvd<float>(const SvdBatch&);
template std::vector<bool> svd_gesvd<double>(const SvdBatch&);

}  // namespace sigma::cuda
