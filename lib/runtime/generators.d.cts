export { uniformInt } from 'pure-rand/distribution/uniformInt';
export { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
