/** Says that the environment switches a part of the package off, as the variable's 'off' or '0' does; else undefined. */
export function switchedOff(variable: string, part: string): string | undefined {
  const wish = process.env[variable];
  return wish === 'off' || wish === '0' ? `${variable}=${wish} in the environment switches ${part} off` : undefined;
}
