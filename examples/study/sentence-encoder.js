#!/usr/bin/env node
// @ts-check
// Writes the Universal Sentence Encoder Lite as safetensors, in TensorFlow's layout [in, out]:
// node examples/study/sentence-encoder.js model.safetensors
import { readGraphModel, sentenceEncoder, writeGraphModel } from './graph-model.js';

const path = process.argv[2] ?? 'model.safetensors';
const model = readGraphModel(sentenceEncoder);
await writeGraphModel(path, model);
console.log(`${path}: ${model.layers.length} linear layers, ${model.tensors.size} tensors`);
