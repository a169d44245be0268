import type { OptionTable } from './command.js';

/** The option of the commands that may read decompositions instead of computing them. */
export const cacheOption = {
  cache: {
    type: 'string',
    value: 'FOLDER',
    about: 'factors of sigmatune decompose; missing ones are computed and kept there',
  },
} as const satisfies OptionTable;
