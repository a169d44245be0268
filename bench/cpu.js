#!/usr/bin/env node
// @ts-check
// The figures of docs/performance.md: node bench/cpu.js [words] [--seconds 400] [--dry]; see figures/main.js.
import { main } from './figures/main.js';

await main('cpu');
