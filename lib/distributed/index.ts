/** sigmatune/distributed: one job on many processes and machines, over MPI. */
export type { Communicator } from './communicator.js';
export { type InitOptions, init } from './init.js';
export { type AdaptModelShardedOptions, adaptModelSharded, decomposeModelSharded } from './sharded.js';
export { type MpiStatus, mpiStatus } from './status.js';
