{
  # Builds the addon for the machine at hand: the published files are built by scripts/prebuilds.mjs.
  # strict: warnings are errors here; a user's compiler may know more of them.
  # portable: the C++ library is linked in, too.
  'variables': {
    'strict%': 0,
    'portable%': 0,
    'sanitize%': '',
    # The unpacked folder of OpenBLAS's release for Windows.
    'openblas%': '<!(node -p "process.env.OPENBLAS || \'\'")',
  },
  'targets': [{
    'target_name': 'sigmatune',
    'sources': ['<!@(node native/sources.mjs)'],
    'include_dirs': ['native'],
    'defines': [
      'NAPI_VERSION=8',
      'NODE_ADDON_API_CPP_EXCEPTIONS',
      'NODE_ADDON_API_DISABLE_DEPRECATED',
      # A worker that is being terminated refuses every exception: drop it there, instead of aborting the process.
      'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
    ],
    'variables': {
      'node_addon_api': '<!(node native/node-addon-api.mjs)',
      'flags': ['-O3', '-ffp-contract=fast', '-fno-math-errno', '-fno-trapping-math'],
      'warnings': ['-Wall', '-Wextra', '-Wpedantic', '-Wshadow', '-Wconversion', '-Wno-sign-conversion'],
    },
    'conditions': [
      ['OS=="linux"', {
        'cflags!': ['-fno-exceptions'],
        'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-std=gnu++17', '-std=gnu++20'],
        'cflags_cc': [
          # A system include, so that our warnings judge our code only. The compiler runs in build/, one level down.
          '-isystem', '../<(node_addon_api)',
          '-std=c++20', '-fvisibility=hidden', '<@(flags)', '<@(warnings)',
        ],
        # nodelete: the pool's threads outlive the last environment that loaded the addon, so its code must stay mapped.
        'ldflags': [
          '-Wl,-z,now', '-Wl,-z,nodelete', '-Wl,--exclude-libs,ALL', '-Wl,--gc-sections',
          # native/cpu/gemm/blas_buffers.cc gives OpenBLAS its memory.
          '-Wl,--wrap=blas_memory_alloc', '-Wl,--wrap=blas_memory_free',
        ],
        'defines': ['SIGMA_WRAP_OPENBLAS=1'],
        'libraries': ['<!(node native/openblas.mjs)', '-lm', '-lpthread', '-ldl'],
        'conditions': [
          # initial-exec: a thread's data is there from its start. Otherwise glibc allocates it at the first use, and
          # aborts the process if there is no memory. musl allocates it when the addon is loaded.
          ['"<!(node -p "process.report.getReport().header.glibcVersionRuntime || 0")"!="0"', {
            'cflags_cc': ['-ftls-model=initial-exec'],
          }],
          ['strict==1', { 'cflags_cc': ['-Werror'] }],
          ['portable==1', { 'ldflags': ['-static-libstdc++', '-static-libgcc'] }],
          ['sanitize!=""', {
            'cflags_cc': ['-fsanitize=<(sanitize)', '-fno-omit-frame-pointer', '-g1', '-O1'],
            'ldflags': ['-fsanitize=<(sanitize)'],
          }],
        ],
      }],
      ['OS=="mac"', {
        'include_dirs': ['<(node_addon_api)'],
        'xcode_settings': {
          'CLANG_CXX_LANGUAGE_STANDARD': 'c++20',
          'GCC_ENABLE_CPP_EXCEPTIONS': 'YES',
          'GCC_ENABLE_CPP_RTTI': 'YES',
          'GCC_SYMBOLS_PRIVATE_EXTERN': 'YES',
          'GCC_OPTIMIZATION_LEVEL': '3',
          # The first version with Accelerate's new LAPACK interface.
          'MACOSX_DEPLOYMENT_TARGET': '13.3',
          'OTHER_CPLUSPLUSFLAGS': ['<@(flags)', '<@(warnings)'],
        },
        'libraries': ['-framework Accelerate'],
      }],
      ['OS=="win"', {
        # Not Microsoft's own compiler, which has no vector types: ClangCL is a component of Visual Studio.
        'msbuild_toolset': 'ClangCL',
        'include_dirs': ['<(node_addon_api)'],
        'msvs_settings': {
          'VCCLCompilerTool': {
            'ExceptionHandling': 1,
            'RuntimeTypeInfo': 'true',
            'AdditionalOptions': ['/std:c++20', '/clang:-O3', '/clang:-ffp-contract=fast'],
          },
        },
        'libraries': ['<(openblas)/lib/libopenblas.lib'],
        'copies': [{ 'destination': '<(PRODUCT_DIR)', 'files': ['<(openblas)/bin/libopenblas.dll'] }],
      }],
    ],
  }],
}
