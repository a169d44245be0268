#!/usr/bin/env node
// @ts-check
// The figures of a CUDA card: node bench/gpu.js [words] [--out report.json] [--seconds 400] [--dry]; see figures/main.js.
import { main } from './figures/main.js';

await main('cuda');
