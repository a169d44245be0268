// Resolves the package's name to the wrapper, but for the wrapper itself.
const wrapper = new URL('./sigmatune.mjs', import.meta.url).href;

export function resolve(specifier, context, next) {
  if (specifier === 'sigmatune' && context.parentURL !== wrapper) {
    return { url: wrapper, format: 'module', shortCircuit: true };
  }
  return next(specifier, context);
}
