// docs/api.md: every exported name with its signature and docstring. Reads the declarations in dist/: they have no
// internal members, and every inferred type is written out.
import { basename, dirname, join, sep } from 'node:path';
import ts from 'typescript';
import { root } from '../setup/run.mjs';
import { escaped, paragraphs } from './docstring.mjs';

const dist = join(root, 'dist');
/** `sigmatune/tfjs` is left out: its declarations need the types of TensorFlow.js. */
const entries = [join(dist, 'index.d.ts'), join(dist, 'distributed', 'index.d.ts')];

/** The page's sections, by the folder of lib/ that declares a name. */
const sections = {
  families: 'Families',
  model: 'Whole models',
  distributed: 'Many machines: sigmatune/distributed',
  layers: 'Layers',
  operator: 'Passes',
  linalg: 'Linear algebra',
  sparse: 'Sparsity patterns',
  optim: 'Training',
  tensor: 'Tensors',
  files: 'Files',
  runtime: 'Devices, threads and errors',
};

/** The page as it should be now. */
export function apiPage() {
  const program = ts.createProgram(entries, {
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    module: ts.ModuleKind.NodeNext,
    types: ['node'],
    skipLibCheck: true,
  });
  return new Page(program).text();
}

class Page {
  #checker;
  #exported;
  /** Types that signatures name and the package does not export: shown at the end. */
  #unexported = new Set();
  /** Of the headings: names that differ in case only are numbered, as GitHub does it. */
  #anchors = new Map();

  constructor(program) {
    this.#checker = program.getTypeChecker();
    const modules = entries.map((entry) => this.#checker.getSymbolAtLocation(program.getSourceFile(entry)));
    const exported = modules.flatMap((module) => this.#checker.getExportsOfModule(module));
    this.#exported = new Set(exported.map((symbol) => this.#original(symbol)));
  }

  text() {
    const groups = Object.entries(sections).map(([folder, title]) => [title, this.#declaredIn(folder)]);
    const shown = new Set(groups.flatMap(([, symbols]) => symbols));
    const missed = [...this.#exported].filter((symbol) => !shown.has(symbol));
    if (missed.length > 0) throw new Error(`scripts/docs/api.mjs: no section for ${missed.map(fileOf).join(', ')}`);
    for (const symbol of groups.flatMap(([, symbols]) => symbols)) {
      const same = [...this.#anchors.keys()].filter(
        ({ name }) => name.toLowerCase() === symbol.name.toLowerCase(),
      ).length;
      this.#anchors.set(symbol, `${symbol.name.toLowerCase()}${same > 0 ? `-${same}` : ''}`);
    }
    const body = groups.flatMap(([title, symbols]) => [`## ${title}`, ...symbols.flatMap((each) => this.#entry(each))]);
    const others = this.#others();
    const contents = groups.map(
      ([title, symbols]) => `- ${title}: ${symbols.map((each) => this.#link(each)).join(', ')}`,
    );
    return `${[
      '# API reference',
      'Every name that the package exports, with the text of its docstring. `npm run docs` makes this page.',
      contents.join('\n'),
      ...body,
      '## Types that are not exported',
      'Signatures above name these types.',
      ...others,
    ].join('\n\n')}\n`;
  }

  #link(symbol) {
    return `[${symbol.name}](#${this.#anchors.get(symbol)})`;
  }

  #declaredIn(folder) {
    return sorted([...this.#exported].filter((symbol) => basename(dirname(fileOf(symbol))) === folder));
  }

  /** Definitions of the unexported types; a definition may name further ones. */
  #others() {
    const shown = new Map();
    let before;
    do {
      before = shown.size;
      for (const symbol of [...this.#unexported]) if (!shown.has(symbol)) shown.set(symbol, this.#entry(symbol));
    } while (shown.size > before);
    return sorted(shown.keys()).flatMap((symbol) => shown.get(symbol));
  }

  #entry(symbol) {
    const [first] = symbol.declarations;
    const parts = [`### ${symbol.name}`];
    if (ts.isTypeAliasDeclaration(first)) parts.push(code(`type ${nameOf(first)} = ${this.#typeText(first)}`));
    else if (ts.isInterfaceDeclaration(first) || ts.isClassDeclaration(first)) parts.push(code(this.#heading(first)));
    else parts.push(code(this.#signatures(symbol)));
    parts.push(...this.#docs(symbol));
    if (ts.isInterfaceDeclaration(first) || ts.isClassDeclaration(first)) {
      parts.push(...this.#mentioned(first.heritageClauses ?? [], symbol), ...this.#members(symbol, first));
    } else parts.push(...this.#mentioned([first], symbol));
    return parts;
  }

  /** `interface A extends B`; a base class that is not exported gives way to the interfaces that it implements. */
  #heading(declaration) {
    const kind = ts.isClassDeclaration(declaration) ? 'class' : 'interface';
    const clauses = (declaration.heritageClauses ?? []).map((clause) => {
      const word = clause.token === ts.SyntaxKind.ExtendsKeyword ? 'extends' : 'implements';
      const hidden = clause.types.map((type) => this.#symbolOf(type.expression)).find((base) => this.#isOurs(base));
      const shown = hidden === undefined || this.#exported.has(hidden) ? undefined : hidden.declarations[0];
      const instead = shown?.heritageClauses?.flatMap(({ types }) => types) ?? [];
      return shown ? `implements ${instead.map(plain).join(', ')}` : `${word} ${clause.types.map(plain).join(', ')}`;
    });
    const head = [`${kind} ${nameOf(declaration)}`, ...clauses].join(' ');
    const made = declaration.members.find(ts.isConstructorDeclaration);
    if (!made || ts.getCombinedModifierFlags(made) & ts.ModifierFlags.Private) return head;
    this.#noteTypes(made);
    return `${head}\nnew ${declaration.name.text}(${made.parameters.map(plain).join(', ')})`;
  }

  /** Properties as a list, methods each under its name. */
  #members(symbol, declaration) {
    const own = declaration.members
      .filter((member) => member.name && !ts.isPrivateIdentifier(member.name) && !isPrivate(member))
      .filter((member) => !ts.isComputedPropertyName(member.name))
      .map((member) => this.#checker.getSymbolAtLocation(member.name));
    const members = [...new Set(own)];
    const isMethod = ({ flags }) => (flags & ts.SymbolFlags.Method) !== 0;
    const properties = members.filter((each) => !isMethod(each)).map((each) => this.#property(each));
    const methods = members.filter(isMethod).flatMap((each) => {
      const isStatic = ts.getCombinedModifierFlags(each.declarations[0]) & ts.ModifierFlags.Static;
      const title = `#### ${isStatic ? symbol.name : symbol.name.charAt(0).toLowerCase() + symbol.name.slice(1)}.${each.name}`;
      return [title, code(this.#signatures(each)), ...this.#docs(each)];
    });
    return [...(properties.length > 0 ? [properties.join('\n')] : []), ...methods];
  }

  #property(symbol) {
    const [first, ...others] = symbol.declarations;
    const writable = !isReadonly(first) && (!ts.isGetAccessor(first) || others.some(ts.isSetAccessor));
    const optional = first.questionToken ? '?' : '';
    const type = this.#typeText(first).replaceAll(/\s+/g, ' ');
    const doc = paragraphs(ts.displayPartsToString(symbol.getDocumentationComment(this.#checker))).join(' ');
    const head = `- \`${writable ? '' : 'readonly '}${symbol.name}${optional}: ${type}\``;
    return doc === '' ? head : `${head}: ${escaped(doc)}`;
  }

  /** Each overload of a function, method or constant function on a line. */
  #signatures(symbol) {
    const lines = symbol.declarations.map((declaration) => {
      this.#noteTypes(declaration);
      const { name } = symbol;
      if (ts.isVariableDeclaration(declaration) && !ts.isFunctionTypeNode(declaration.type)) {
        return `const ${name}: ${plain(declaration.type)}`;
      }
      const callable = ts.isVariableDeclaration(declaration) ? declaration.type : declaration;
      const generics = callable.typeParameters ? `<${callable.typeParameters.map(plain).join(', ')}>` : '';
      const given = callable.parameters.map(plain);
      const head =
        given.join(', ').length > 80 ? `\n  ${given.join(',\n').replaceAll('\n', '\n  ')},\n` : given.join(', ');
      return `${name}${generics}(${head}): ${plain(callable.type)}`;
    });
    return lines.join('\n');
  }

  /** The type of a declaration. `(typeof list)[number]` is written out. */
  #typeText(declaration) {
    const node = declaration.type;
    this.#noteTypes(node);
    if (!some(node, ts.isTypeQueryNode)) return plain(node);
    const type = this.#checker.getTypeFromTypeNode(node);
    const flags = ts.TypeFormatFlags.InTypeAlias | ts.TypeFormatFlags.NoTruncation;
    return this.#checker.typeToString(type, undefined, flags).replaceAll('"', "'");
  }

  /** Description, parameters, result, errors and examples. */
  #docs(symbol) {
    const tags = symbol.getJsDocTags(this.#checker);
    const textsOf = (name) => tags.filter((tag) => tag.name === name).map((tag) => ts.displayPartsToString(tag.text));
    const parts = paragraphs(ts.displayPartsToString(symbol.getDocumentationComment(this.#checker))).map(escaped);
    const given = textsOf('param').map((text) => paragraphs(text).join(' '));
    if (given.length > 0) {
      parts.push(given.map((text) => escaped(text.replace(/^(\w+) /, '- `$1`: '))).join('\n'));
    }
    for (const [tag, title] of [
      ['returns', 'Returns'],
      ['throws', 'Throws'],
    ]) {
      parts.push(
        ...textsOf(tag).map((text) => `${title}: ${escaped(paragraphs(text).join(' '))}.`.replace(/\.\.$/, '.')),
      );
    }
    parts.push(...textsOf('example').map((text) => code(text.trim())));
    return parts;
  }

  /** Links to what a signature names, tensors' types apart: almost every signature has those. */
  #mentioned(nodes, self) {
    const names = new Set();
    const note = (node) => {
      const name = ts.isTypeReferenceNode(node) ? node.typeName : node;
      if (!ts.isIdentifier(name)) return;
      const symbol = this.#symbolOf(name);
      const shown = this.#exported.has(symbol) && !fileOf(symbol).includes(`${sep}tensor${sep}`);
      if (shown && symbol !== self) names.add(symbol);
    };
    for (const node of nodes) each(node, note);
    return names.size > 0 ? [`See ${[...names].map((each) => this.#link(each)).join(', ')}.`] : [];
  }

  #noteTypes(declaration) {
    each(declaration, (node) => {
      if (!ts.isTypeReferenceNode(node)) return;
      const symbol = this.#symbolOf(node.typeName);
      if (this.#isOurs(symbol) && !this.#exported.has(symbol) && !(symbol.flags & ts.SymbolFlags.TypeParameter)) {
        this.#unexported.add(symbol);
      }
    });
  }

  #isOurs(symbol) {
    return symbol?.declarations?.[0] !== undefined && fileOf(symbol).startsWith(dist + sep);
  }

  #symbolOf(name) {
    const symbol = this.#checker.getSymbolAtLocation(name);
    return symbol && this.#original(symbol);
  }

  #original(symbol) {
    return symbol.flags & ts.SymbolFlags.Alias ? this.#checker.getAliasedSymbol(symbol) : symbol;
  }
}

const fileOf = (symbol) => join(symbol.declarations[0].getSourceFile().fileName);
const code = (text) => `\`\`\`ts\n${text}\n\`\`\``;

/** A node as it is written, without the indentation around it, and two spaces for four inside. */
function plain(node) {
  const lines = node.getText().split('\n');
  const around = /^ */.exec(lines.at(-1))[0].length;
  const inner = lines
    .slice(1)
    .map((line) => line.slice(around).replace(/^( {4})+/, ({ length }) => ' '.repeat(length / 2)));
  return [lines[0], ...inner]
    .join('\n')
    .replaceAll(/\bimport\("[^"]*"\)\./g, '')
    .replaceAll(/(\?: [\w<>]+) \| undefined\b/g, '$1');
}

/** Functions and classes first, then types; each by name. */
const sorted = (symbols) =>
  [...symbols].sort((a, b) => Number(isType(a)) - Number(isType(b)) || a.name.localeCompare(b.name, 'en'));
const isType = ({ flags }) => (flags & ts.SymbolFlags.Value) === 0;

const nameOf = ({ name, typeParameters }) =>
  typeParameters ? `${name.text}<${typeParameters.map(plain).join(', ')}>` : name.text;
const isPrivate = (node) => (ts.getCombinedModifierFlags(node) & ts.ModifierFlags.Private) !== 0;
const isReadonly = (node) => (ts.getCombinedModifierFlags(node) & ts.ModifierFlags.Readonly) !== 0;

function each(node, visit) {
  visit(node);
  ts.forEachChild(node, (child) => each(child, visit));
}

function some(node, test) {
  return test(node) || ts.forEachChild(node, (child) => some(child, test) || undefined) === true;
}
