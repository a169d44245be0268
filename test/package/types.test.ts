/** The public types: types/public.ts compiles, and each of its @ts-expect-error lines is an error. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));
const file = fileURLToPath(new URL('../types/public.ts', import.meta.url));

const options: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  noEmit: true,
  types: ['node'],
  typeRoots: [`${root}/node_modules/@types`],
};

/** The compiler's errors for `source` instead of the file, and for the package's declarations. */
function diagnose(source: string, previous?: ts.Program): { program: ts.Program; messages: string[] } {
  const host = ts.createCompilerHost(options);
  const read = host.readFile.bind(host);
  host.readFile = (path) => (path === file ? source : read(path));
  const program = ts.createProgram([file], options, host, previous);
  const own = program
    .getSourceFiles()
    .filter(({ fileName }) => fileName === file || fileName.startsWith(`${root}dist/`));
  const found = own.flatMap((one) => [...program.getSyntacticDiagnostics(one), ...program.getSemanticDiagnostics(one)]);
  const messages = found.map(({ messageText, file: where, start }) => {
    const line =
      where && start !== undefined ? `${where.fileName}:${where.getLineAndCharacterOfPosition(start).line + 1}: ` : '';
    return line + ts.flattenDiagnosticMessageText(messageText, '\n');
  });
  return { program, messages };
}

t.test('types/public.ts compiles', async (t) => {
  const source = readFileSync(file, 'utf8');
  const { program, messages } = diagnose(source);
  t.same(messages, []);
  t.ok(source.includes('@ts-expect-error'), 'and has lines that must not');
  const broken = diagnose(`${source}\nconst mistake: string = zeros([1]);\nvoid mistake;\n`, program);
  t.equal(broken.messages.length, 1, 'a mistake would be seen');
});
