// What ptxas says of the functions it assembles (nvcc -Xptxas=-v): what each takes of the chip, and whether its numbers
// fit into registers or move to memory, which costs a kernel that lives on bandwidth most of its speed.

/**
 * One entry for each kernel and architecture: { name, arch, registers, shared, frame, stores, loads }, where shared,
 * frame and the spills' stores and loads are in bytes. Functions that were not inlined have entries too, without
 * registers and shared memory of their own.
 */
export function parseResources(text) {
  // ptxas runs once for each architecture, and begins with the memory of the whole. It names the architecture next to
  // the kernels only, and may tell of a function before the first of them.
  return text.split(/^.*bytes gmem.*$/m).flatMap((assembly) => {
    const kernels = [...assembly.matchAll(/Compiling entry function '(.+)' for '(sm_\w+)'/g)];
    const found = [...assembly.matchAll(described)].map(([, name, frame, stores, loads, registers, rest]) => ({
      name,
      arch: kernels[0]?.[2],
      registers: registers && Number(registers),
      shared: registers && Number(/(\d+) bytes smem/.exec(rest)?.[1] ?? 0),
      frame: Number(frame),
      stores: Number(stores),
      loads: Number(loads),
    }));
    for (const [, name, arch] of kernels) {
      if (found.some((one) => one.name === name && one.arch === arch && one.registers !== undefined)) continue;
      // A gate that does not see a kernel would let it through.
      throw new Error(`ptxas tells nothing that we understand of ${name} for ${arch}:\n${assembly}`);
    }
    return found;
  });
}

const described = new RegExp(
  [
    'Function properties for (\\S+)',
    ' *(\\d+) bytes stack frame, (\\d+) bytes spill stores, (\\d+) bytes spill loads(?:',
    '.*Used (\\d+) registers(.*))?',
  ].join('\n'),
  'g',
);

/** Those that keep in memory what was meant for registers: spilled numbers, or an array that is indexed at run time. */
export function spilling(functions) {
  return functions.filter(({ frame, stores, loads }) => frame > 0 || stores > 0 || loads > 0);
}

const columns = ['kernel', 'arch', 'registers', 'shared', 'frame', 'spill stores', 'spill loads'];

/** The entries as lines of text, one a kernel and architecture, under a heading. */
export function resourceTable(functions) {
  const rows = functions
    .map(({ name, arch, registers, shared, frame, stores, loads }) =>
      [name, arch, registers, shared, frame, stores, loads].map((value) => String(value ?? '-')),
    )
    .sort(([a, from], [b, to]) => compare(a, b) || compare(from, to));
  const widths = columns.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column].length)));
  return [columns, ...rows]
    .map((row) => row.map((text, column) => pad(text, widths[column], column)).join('  '))
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

/** Names to the left, numbers to the right. */
function pad(text, width, column) {
  return column < 2 ? text.padEnd(width) : text.padStart(width);
}

const compare = new Intl.Collator('en', { numeric: true }).compare;
