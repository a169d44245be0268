// @ts-check
// The words that a reader of a mail sees first: its subject and the beginning of its text.

const words = 60; // more than the model reads

/** @param {string} source @returns {string} */
export function textOf(source) {
  const { headers, body } = split(source.replaceAll('\r\n', '\n'));
  const subject = headers.get('subject') ?? '';
  return readable(`${subject}. ${bodyText(headers, body, 0)}`)
    .split(' ')
    .slice(0, words)
    .join(' ');
}

/** @param {string} part */
function split(part) {
  const end = part.indexOf('\n\n');
  const head = end < 0 ? part : part.slice(0, end);
  /** @type {Map<string, string>} */
  const headers = new Map();
  for (const line of head.replace(/\n[ \t]+/g, ' ').split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  return { headers, body: end < 0 ? '' : part.slice(end + 2) };
}

/** The first part with text, decoded. @param {ReadonlyMap<string, string>} headers @param {string} body @param {number} depth @returns {string} */
function bodyText(headers, body, depth) {
  const type = headers.get('content-type') ?? 'text/plain';
  const boundary = /boundary="?([^";]+)"?/i.exec(type)?.[1];
  if (boundary !== undefined && depth < 4) {
    const parts = body
      .split(`--${boundary}`)
      .slice(1)
      .map((part) => split(part.trimStart()));
    const texts = parts.map((part) => bodyText(part.headers, part.body, depth + 1));
    return texts.find((text) => text.trim() !== '') ?? '';
  }
  if (!/^(text|message)/i.test(type)) return '';
  const encoding = headers.get('content-transfer-encoding')?.toLowerCase();
  if (encoding === 'base64') return Buffer.from(body, 'base64').toString('latin1');
  return encoding === 'quoted-printable' ? unquoted(body) : body;
}

/** @param {string} text */
const unquoted = (text) =>
  text.replace(/=\n/g, '').replace(/=([0-9A-F]{2})/gi, (_, code) => String.fromCharCode(Number.parseInt(code, 16)));

/** Without tags, addresses of pages, and signs that the tokeniser does not know. @param {string} text */
const readable = (text) =>
  text
    .replace(/<(style|script|title)[^>]*>[\s\S]*?<\/\1>/gi, ' ')
    .replace(/<[^>]*>/g, ' ')
    .replace(/https?:\S+/gi, ' ')
    .replace(/&nbsp;?/gi, ' ')
    .replace(/&[a-z]+;|&#\d+;/gi, ' ')
    .replace(/[^\x20-\x7e]+/g, ' ')
    .replace(/([^\w\s])(\s*\1){2,}/g, '$1') // ornaments
    .replace(/\s+/g, ' ')
    .trim();
