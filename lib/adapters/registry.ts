/** The families: one line each. Tests run over whatever is exported here. */
export { siva } from './siva.js';
export { svft } from './svft.js';
export { vectorFit } from './vectorfit.js';
