/** sigmatune/distributed: one job on many processes and machines, over MPI. */
export type { Communicator } from './communicator.js';
export type { GradientRoute } from './device-means.js';
export { type InitOptions, init } from './init.js';
export { type NcclStatus, ncclStatus } from './nccl.js';
export { type AdaptModelShardedOptions, adaptModelSharded, decomposeModelSharded } from './sharded.js';
export { type MpiStatus, mpiStatus } from './status.js';
