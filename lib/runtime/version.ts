/** This package's version, as package.json has it. A constant, because a bundle has no package.json. */
export const version = '0.1.0';
