// What is used of pure-rand. By require, because Yarn's Plug'n'Play resolves no package that an ES module imports when
// CommonJS requires this ES module.
'use strict';
exports.uniformInt = require('pure-rand/distribution/uniformInt').uniformInt;
exports.xoroshiro128plus = require('pure-rand/generator/xoroshiro128plus').xoroshiro128plus;
