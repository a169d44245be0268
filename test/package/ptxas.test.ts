// The gate against kernels that spill, on recorded output of ptxas 13.0, with and without planted spills.
import t from 'tap';
import { parseResources, resourceTable, spilling } from '../../scripts/setup/ptxas.mjs';

const good = `ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z4bandILi8EEvPKfPf' for 'sm_75'
ptxas info    : Function properties for _Z4bandILi8EEvPKfPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 38 registers, used 1 barriers, 4224 bytes smem, 384 bytes cmem[0]
ptxas info    : Compile time = 36.272 ms
ptxas info    : Compiling entry function '_Z4diagPf' for 'sm_75'
ptxas info    : Function properties for _Z4diagPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers, 360 bytes cmem[0]
ptxas info    : Compile time = 0.862 ms
ptxas info    : 24 bytes gmem, 8 bytes cmem[4]
ptxas info    : Compiling entry function '_Z4bandILi8EEvPKfPf' for 'sm_120'
ptxas info    : Function properties for _Z4bandILi8EEvPKfPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 37 registers, used 1 barriers, 4224 bytes smem
ptxas info    : Compile time = 21.140 ms
`;

/** A kernel with more live values than registers, and a kernel that calls a function with a local array. */
const bad = `ptxas info    : 24 bytes gmem
ptxas info    : Compiling entry function '_Z5callsPfi' for 'sm_90'
ptxas info    : Function properties for _Z5callsPfi
    160 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 0 barriers, 160 bytes cumulative stack size
ptxas info    : Compile time = 19.319 ms
ptxas info    : Function properties for _Z6helperPKfi
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function '_Z5tightILi96EEvPKfPfi' for 'sm_90'
ptxas info    : Function properties for _Z5tightILi96EEvPKfPfi
    584 bytes stack frame, 924 bytes spill stores, 1876 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 584 bytes cumulative stack size, 1024 bytes smem
ptxas info    : Compile time = 1285.387 ms
`;

/** A function that was not inlined; ptxas prints it before the kernel that calls it. */
const early = `ptxas info    : 0 bytes gmem
ptxas info    : Function properties for _Z6helperPKfi$1
    168 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Compile time = 27.703 ms
ptxas info    : Compiling entry function '_Z5callsPfi' for 'sm_75'
ptxas info    : Function properties for _Z5callsPfi
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 24 registers, used 0 barriers, 364 bytes cmem[0]
ptxas info    : Compile time = 0.713 ms
`;

t.test('each kernel is read once for each architecture', async (t) => {
  const none = { frame: 0, stores: 0, loads: 0 };
  t.same(parseResources(good), [
    { name: '_Z4bandILi8EEvPKfPf', arch: 'sm_75', registers: 38, shared: 4224, ...none },
    { name: '_Z4diagPf', arch: 'sm_75', registers: 8, shared: 0, ...none },
    { name: '_Z4bandILi8EEvPKfPf', arch: 'sm_120', registers: 37, shared: 4224, ...none },
  ]);
  t.same(spilling(parseResources(good)), []);
  t.same(parseResources(''), []);
});

t.test('a planted spill and a planted stack frame are found', async (t) => {
  t.match(spilling(parseResources(good + bad)), [
    { name: '_Z5callsPfi', arch: 'sm_90', frame: 160, stores: 0, loads: 0 },
    { name: '_Z5tightILi96EEvPKfPfi', arch: 'sm_90', registers: 32, frame: 584, stores: 924, loads: 1876 },
  ]);
  for (const [there, planted] of [
    ['0 bytes spill stores', '4 bytes spill stores'],
    ['0 bytes spill loads', '4 bytes spill loads'],
    ['0 bytes stack frame', '8 bytes stack frame'],
  ] as const) {
    t.equal(spilling(parseResources(good.replace(there, planted))).length, 1, planted);
  }
});

t.test('a function that was not inlined counts, for its architecture', async (t) => {
  t.match(spilling(parseResources(early)), [{ name: '_Z6helperPKfi$1', arch: 'sm_75', frame: 168 }]);
});

t.test('a kernel without numbers is an error, not a kernel without spills', async (t) => {
  for (const lost of [/.*stack frame.*\n/, /.*Used 38.*\n/, /.*Function properties.*\n/]) {
    t.throws(() => parseResources(good.replace(lost, '')), /_Z4bandILi8EEvPKfPf for sm_75/);
  }
});

t.test('the table has a line for each kernel and architecture, sorted', async (t) => {
  t.equal(
    resourceTable(parseResources(good)),
    [
      'kernel               arch    registers  shared  frame  spill stores  spill loads',
      '_Z4bandILi8EEvPKfPf  sm_75          38    4224      0             0            0',
      '_Z4bandILi8EEvPKfPf  sm_120         37    4224      0             0            0',
      '_Z4diagPf            sm_75           8       0      0             0            0',
      '',
    ].join('\n'),
  );
});
