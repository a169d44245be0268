// The package from CommonJS: prints one line.
const { svd, tensor } = require('sigmatune');

const matrix = tensor([
  [0, 2],
  [3, 0],
]);
svd(matrix).then(({ s }) => console.log('singular values', Array.from(s.dataSync()).join(' ')));
