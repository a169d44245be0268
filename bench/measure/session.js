// @ts-check
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { UsageError } from '../usage.js';

/** @typedef {import('./tasks.js').Build} Build */
/** @typedef {import('./tasks.js').Tasks} Tasks */
/** @typedef {'environment' | 'ceilings' | 'prepare' | 'error' | 'calibrate' | 'turn' | 'call' | 'dispose'} Task */
/** @typedef {{ script?: string, before?: readonly string[], env?: Record<string, string> }} Options `before` stands ahead of Node on the command line */

const worker = fileURLToPath(new URL('worker.js', import.meta.url));

/** Characters of a process's stderr that are kept for its message. */
const mostSaid = 100_000;

/** What a case or a build said when it could not do what it was asked: the process itself goes on. */
export class Broken extends UsageError {}

/** A fresh measuring process. */
export class Session {
  #child;
  #folder;
  #said = '';
  /** @type {{ resolve(answer: never): void, reject(error: Error): void } | undefined} */
  #waiting;
  #ended = false;

  /** @param {Build} build @param {Options} [options] @returns {Promise<Session>} */
  static async open(build, options) {
    const session = new Session(build, options);
    await session.#answer();
    return session;
  }

  /** @param {Build} build @param {Options} [options] */
  constructor(build, { script = worker, before = [], env = {} } = {}) {
    this.#folder = build.folder;
    const [command, ...args] = [...before, process.execPath, script, JSON.stringify(build)];
    // An addon that was named for this process is not what another folder is to be measured with.
    const { SIGMATUNE_ADDON: addon, NODE_OPTIONS: _, ...inherited } = process.env;
    this.#child = spawn(command, args, {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...inherited, ...(addon && build.folder === null && { SIGMATUNE_ADDON: addon }), ...env },
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (chunk) => {
      this.#said = (this.#said + chunk).slice(-mostSaid);
    });
    this.#child.on('message', (/** @type {{ answer: never } | { broken: string }} */ message) => {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      if ('broken' in message) waiting?.reject(new Broken(message.broken));
      else waiting?.resolve(message.answer);
    });
    this.#child.on('error', (error) => this.#end(error.message));
    this.#child.on('close', (code, signal) => this.#end(signal ? `was ended by ${signal}` : `ended with ${code}`));
  }

  /**
   * @template {Task} T
   * @param {T} task @param {Parameters<Tasks[T]>} argument
   * @returns {Promise<Awaited<ReturnType<Tasks[T]>>>}
   */
  ask(task, ...argument) {
    const answer = this.#answer();
    if (!this.#ended) this.#child.send({ task, argument: argument[0] });
    return answer;
  }

  close() {
    this.#ended = true;
    this.#child.kill();
  }

  /** Lets the process end by itself, and waits for that: some write their results then. */
  async end() {
    this.#ended = true;
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.disconnect();
    await once(this.#child, 'exit'); // 'close' does not come after a disconnect
  }

  /** @returns {Promise<never>} */
  #answer() {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      if (this.#ended) this.#end('had ended');
    });
  }

  /** @param {string} how */
  #end(how) {
    this.#ended = true;
    const where = this.#folder === null ? '' : ` of ${this.#folder}`;
    const lines = this.#said
      .trim()
      .split('\n')
      .filter((line) => !/^ +at /.test(line));
    const said = lines.slice(-12).join('\n');
    this.#waiting?.reject(new UsageError(`a measuring process${where} ${how}${said && `:\n${said}`}`));
    this.#waiting = undefined;
  }
}
