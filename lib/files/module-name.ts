/** A name without the part that says which tensor of the module it is. */
export function moduleName(name: string): string {
  return name.endsWith('.weight') ? name.slice(0, -'.weight'.length) : name;
}
