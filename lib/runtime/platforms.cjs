// The packages of the binaries, by literal names: this is how file tracing and bundlers find them. CommonJS, because a
// native addon can only be required. Each require is inside a try, so bundlers accept that most of them are missing.
'use strict';

/** @returns {{ addon: object } | { error: unknown }} */
exports.load = (target) => {
  try {
    switch (target) {
      case 'linux-x64-gnu':
        return { addon: require('@sigmatune/linux-x64-gnu') };
      case 'linux-x64-musl':
        return { addon: require('@sigmatune/linux-x64-musl') };
      case 'linux-arm64-gnu':
        return { addon: require('@sigmatune/linux-arm64-gnu') };
      case 'linux-arm64-musl':
        return { addon: require('@sigmatune/linux-arm64-musl') };
      case 'darwin-arm64':
        return { addon: require('@sigmatune/darwin-arm64') };
      case 'darwin-x64':
        return { addon: require('@sigmatune/darwin-x64') };
      case 'win32-x64':
        return { addon: require('@sigmatune/win32-x64') };
      default:
        return { error: undefined };
    }
  } catch (error) {
    return { error };
  }
};

/** Every name that `load` knows. */
exports.targets = [
  'linux-x64-gnu',
  'linux-x64-musl',
  'linux-arm64-gnu',
  'linux-arm64-musl',
  'darwin-arm64',
  'darwin-x64',
  'win32-x64',
];

/** The paths of the CUDA backend's libraries whose packages are installed: of CUDA 13, then of CUDA 12. */
exports.cudaLibraries = () => {
  const libraries = [];
  if (process.platform !== 'linux' || process.arch !== 'x64') return libraries;
  try {
    libraries.push(require('@sigmatune/cuda-linux-x64'));
  } catch {
    // It is not installed.
  }
  try {
    libraries.push(require('@sigmatune/cuda12-linux-x64'));
  } catch {
    // It is not installed.
  }
  return libraries;
};

/** Where this file lies. A bundle has its own path here, an invented one, or none. */
exports.filename = typeof __filename === 'string' ? __filename : undefined;
