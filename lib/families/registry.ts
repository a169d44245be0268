/** The families, one line for each. The package exports all of them. */
export { type LoraXsOptions, loraXs } from './loraxs.js';
export { type SivaOptions, siva } from './siva.js';
export { type SvdiffOptions, svdiff } from './svdiff.js';
export { type SvftOptions, svft } from './svft.js';
export { type VectorFitOptions, vectorFit } from './vectorfit.js';
