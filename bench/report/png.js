// @ts-check

/** Draws an SVG at twice its size, or undefined where the package that can is not installed. @returns {Promise<((svg: string) => Uint8Array) | undefined>} */
export async function painter() {
  try {
    const { Resvg } = await import('@resvg/resvg-js');
    const font = { loadSystemFonts: true, defaultFontFamily: 'DejaVu Sans' };
    return (svg) => new Resvg(svg, { font, fitTo: { mode: 'zoom', value: 2 } }).render().asPng();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}
