{
  # strict: warnings are errors here; a user's compiler may know more of them.
  # portable: the C++ library is linked in too, for prebuilds that need nothing installed.
  'variables': {
    'strict%': 0,
    'portable%': 0,
    'sanitize%': '',
  },
  'targets': [{
    'target_name': 'sigmatune',
    'sources': [
      '<!@(ls native/addon/*.cc native/recipes/*.cc native/cpu/*.cc native/cpu/*/*.cc)',
    ],
    'include_dirs': ['native'],
    'defines': [
      'NAPI_VERSION=8',
      'NODE_ADDON_API_CPP_EXCEPTIONS',
      'NODE_ADDON_API_DISABLE_DEPRECATED',
      # A worker that is being terminated refuses every exception: drop it there, instead of aborting the process.
      'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
    ],
    'cflags!': ['-fno-exceptions'],
    'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-std=gnu++17', '-std=gnu++20'],
    'cflags_cc': [
      # A system include, so that our warnings judge our code only. The compiler runs in build/, one level down.
      '-isystem', '../<!(node -p "require(\'node-addon-api\').include_dir")',
      # initial-exec: a thread's data is there from its start. Otherwise glibc allocates it at the first use, and aborts
      # the process if there is no memory.
      '-std=c++20', '-O3', '-fvisibility=hidden', '-ftls-model=initial-exec', '-ffp-contract=fast', '-fno-math-errno', '-fno-trapping-math',
      '-Wall', '-Wextra', '-Wpedantic', '-Wshadow', '-Wconversion', '-Wno-sign-conversion',
    ],
    # nodelete: the pool's threads outlive the last environment that loaded the addon, so its code must stay mapped.
    # wrap: native/cpu/gemm/blas_buffers.cc gives OpenBLAS its memory.
    'ldflags': [
      '-Wl,-z,now', '-Wl,-z,nodelete', '-Wl,--exclude-libs,ALL', '-Wl,--gc-sections',
      '-Wl,--wrap=blas_memory_alloc', '-Wl,--wrap=blas_memory_free',
    ],
    'libraries': ['<!(node native/openblas.mjs)', '-lm', '-lpthread', '-ldl'],
    'conditions': [
      ['strict==1', { 'cflags_cc': ['-Werror'] }],
      ['portable==1', { 'ldflags': ['-static-libstdc++', '-static-libgcc'] }],
      ['sanitize!=""', {
        'cflags_cc': ['-fsanitize=<(sanitize)', '-fno-omit-frame-pointer', '-g', '-O1'],
        'ldflags': ['-fsanitize=<(sanitize)'],
      }],
    ],
  }],
}
