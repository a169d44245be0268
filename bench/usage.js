// @ts-check

/** Something that the user can mend: told without a stack, ends with 3. */
export class UsageError extends Error {}
