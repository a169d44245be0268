// The launch configurations that plan.h chooses for typical shapes.
#include "cuda/runtime/plan.h"

#include "families.h"
#include "harness.h"

namespace check {

void plans() {
  using sigma::cuda::slab_vectors;
  constexpr size_t kHopper = size_t{227} << 10;
  constexpr size_t kTuring = size_t{64} << 10;
  expect(slab_vectors(4096, 16 * 4096, 4096, 2, kHopper, 132) == 2, "r = 4096, bfloat16: 16 tokens, 128 KB");
  expect(slab_vectors(4096, 33 * 4096, 4096, 4, kHopper, 132) == 2, "r = 4096, float32: 8 tokens");
  expect(slab_vectors(8192, 33 * 8192, 4096, 2, kHopper, 132) == 1, "r = 8192: one vector");
  expect(slab_vectors(16384, 33 * 16384, 4096, 2, kHopper, 132) == 0, "r = 16384 does not fit");
  expect(slab_vectors(4096, 16 * 4096, 4096, 2, kTuring, 40) == 1, "64 KB hold one vector of 4096 rows");
  expect(slab_vectors(768, 33 * 768, 8192, 2, kHopper, 132) == 4, "r = 768: 32 tokens");
  expect(slab_vectors(768, 33 * 768, 2048, 2, kHopper, 132) == 2, "2,048 tokens: 128 slabs keep 132 of them busy");
  expect(slab_vectors(768, 33 * 768, 1024, 2, kHopper, 132) == 1,
         "few tokens: narrower slabs, one block per multiprocessor");
  expect(slab_vectors(4096, 16 * 4096, 128, 2, kHopper, 132) == 0, "too few tokens for a busy device");
  expect(slab_vectors(4096, 2 * 4096, 4096, 2, kHopper, 132) == 0, "two entries per row: gather");

  using sigma::cuda::Split;
  using sigma::cuda::split_of;
  const auto covers = [](int64_t length, const Split& split, int64_t granule) {
    return split.size % granule == 0 && split.count * split.size >= length && (split.count - 1) * split.size < length;
  };
  for (const int64_t length : {1, 7, 511, 512, 513, 4096, 100000, 100000000}) {
    for (const int64_t units : {1, 3, 64, 4096, 1000000}) {
      for (const int64_t outputs : {1, 4096, 135168, 50000000}) {
        const Split split = split_of(length, units, 16384, 128, 512, outputs);
        expect(covers(length, split, 128), "splits cover the tokens once");
        expect(split.count == 1 || split.count * outputs <= int64_t{1} << 25, "partial sums stay within bounds");
      }
    }
  }
  expect(split_of(4096, 4096, 16384, 128, 512, 65536).count == 4, "N = 4096, r = 4096: four splits");
  expect(split_of(0, 4096, 16384, 128, 512, 65536).count == 1, "no tokens: one split, which writes zeros");
}

}  // namespace check
