declare const platforms: {
  /** Loads the addon from the package of a target. An unknown target gives no error. */
  load(target: string): { readonly addon: object } | { readonly addon?: undefined; readonly error: unknown };
  readonly targets: readonly string[];
  cudaLibraries(): string[];
  readonly filename: string | undefined;
};
export = platforms;
