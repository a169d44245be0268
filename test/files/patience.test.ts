/** Attempts that Windows refuses for a moment. */
import t from 'tap';

/** Not exported by the package: only Windows needs it, where no test of ours runs. */
const { patiently } = (await import(new URL('../../dist/files/patience.js', import.meta.url).href)) as {
  patiently<T>(attempt: () => Promise<T>, platform?: string): Promise<T>;
};

/** An attempt whose first `times` calls fail, and the number of its calls. */
function failing(times: number, code: string) {
  const counter = { calls: 0 };
  const attempt = async () => {
    counter.calls++;
    if (counter.calls <= times) throw Object.assign(new Error(code), { code });
    return 'done';
  };
  return { counter, attempt };
}

for (const code of ['EPERM', 'EACCES', 'EBUSY']) {
  t.test(`${code} on Windows: tried again`, async (t) => {
    const { counter, attempt } = failing(3, code);
    t.equal(await patiently(attempt, 'win32'), 'done');
    t.equal(counter.calls, 4);
  });
}

t.test('not for ever', async (t) => {
  const { counter, attempt } = failing(Number.POSITIVE_INFINITY, 'EPERM');
  await t.rejects(patiently(attempt, 'win32'), { code: 'EPERM' });
  t.equal(counter.calls, 9);
});

t.test('what waiting does not change fails at once', async (t) => {
  for (const [code, platform] of [
    ['ENOENT', 'win32'],
    ['EPERM', 'linux'],
    ['EBUSY', 'darwin'],
  ] as const) {
    const { counter, attempt } = failing(1, code);
    await t.rejects(patiently(attempt, platform), { code });
    t.equal(counter.calls, 1, `${code} on ${platform}`);
  }
});
