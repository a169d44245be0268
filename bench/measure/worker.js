#!/usr/bin/env node
// @ts-check
// A measuring process. Several of them stand side by side and take turns.
import { serve, Tasks } from './tasks.js';

await serve(Tasks);
