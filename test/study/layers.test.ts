/** examples/study: LoRA, and what is around the model: data and metrics. */
import { matmul, type Tensor } from 'sigmatune';
import t from 'tap';
import { assertClose, cpuOnly, gaussian, seeded } from '../support/helpers.js';
import { Dense, Lora, metricsOf, sources, textOf, withoutNearDuplicates } from '../support/study.js';

const random = seeded(7);
const same = { atol: 0, rtol: 0 };
const close = { atol: 1e-5, rtol: 1e-5 };
const view = (tensor: Tensor<'float32'>) => ({ data: tensor.dataSync() as Float32Array, shape: tensor.shape });

t.test(
  'LoRA is the dense layer of its merged weight, and its gradients follow from that layer’s',
  { skip: cpuOnly },
  async (t) => {
    const [weight, bias] = [gaussian(random, [6, 5], 'float32'), gaussian(random, [5], 'float32')];
    const uniform = (length: number, bound: number) => view(gaussian(random, [length], 'float32', bound)).data;
    const lora = new Lora('x', { weight: view(weight), bias: view(bias) }, { r: 2, alpha: 3, uniform });
    const [a, b] = lora.parameters as [(typeof lora.parameters)[0], (typeof lora.parameters)[0]];
    assertClose(t, lora.mergedWeight(), weight, same, 'it starts at the pretrained weight');
    b.value.assign(gaussian(random, [2, 5], 'float32').dataSync());
    const dense = new Dense('x', { weight: view(lora.mergedWeight()), bias: view(bias) });
    const [x, dy] = [gaussian(random, [4, 6], 'float32'), gaussian(random, [4, 5], 'float32')];
    const [one, other] = [lora.forward(view(x)), dense.forward(view(x))];
    assertClose(t, one.y, other.y, close, 'y');
    assertClose(t, one.backward(view(dy)), other.backward(view(dy)), close, 'dx');
    const dw = dense.parameters[0]?.grad as Tensor<'float32'>;
    const scaled = (tensor: Tensor<'float32'>) => tensor.dataSync().map((value) => 1.5 * value);
    assertClose(
      t,
      a.grad as Tensor,
      scaled(matmul(dw, b.value as Tensor<'float32'>, { transposeB: true })),
      close,
      'dA',
    );
    assertClose(
      t,
      b.grad as Tensor,
      scaled(matmul(a.value as Tensor<'float32'>, dw, { transposeA: true })),
      close,
      'dB',
    );
  },
);

t.test('near-duplicates are left out, in any place', async (t) => {
  const text = 'one two three four five six seven eight nine ten';
  const near = 'ONE two, three four five six seven 8 eight nine eleven';
  const far = 'one two three and then quite another text with its own words';
  t.same(withoutNearDuplicates([text, far, near, text, 'hi', 'Hi!', 'ho'], String), [text, far, 'hi', 'ho']);
  const reviews = sources.reviews().map((each) => each.text);
  const kept = withoutNearDuplicates(reviews, String);
  t.ok(kept.length < reviews.length && kept.length > 0.9 * reviews.length, `${kept.length} of ${reviews.length}`);
  const runs = kept.slice(0, 400).map((each) => {
    const words = each.toLowerCase().match(/[a-z]+/g) ?? [];
    return new Set(words.slice(2).map((_, i) => words.slice(i, i + 3).join(' ')));
  });
  let worst = 0;
  for (const [i, one] of runs.entries()) {
    for (const other of runs.slice(i + 1)) {
      const common = [...one].filter((run) => other.has(run)).length;
      if (common > 0) worst = Math.max(worst, common / (one.size + other.size - common));
    }
  }
  t.ok(worst < 0.5, `largest overlap ${worst}`);
});

t.test('a mail is read as its subject and text, whatever its encoding', async (t) => {
  const encoded = Buffer.from('<b>Hello</b> friend').toString('base64');
  t.equal(
    textOf(`From x\nSubject: Win\n  now\nContent-Transfer-Encoding: base64\n\n${encoded}`),
    'Win now. Hello friend',
  );
  t.equal(textOf('Subject: a\nContent-Transfer-Encoding: quoted-printable\n\nso=\nft =3D hard'), 'a. soft = hard');
  const parts = '--q\nContent-Type: image/png\n\nAAAA\n--q\nContent-Type: text/plain\n\nseen\n--q--';
  t.equal(textOf(`Subject: b\nContent-Type: multipart/mixed; boundary="q"\n\n${parts}`), 'b. seen');
  t.equal(textOf('Subject: c\n\n<style>p {}</style>a&nbsp;b https://x.example ------ c'), 'c. a b - c');
});

t.test('metrics of two classes', async (t) => {
  t.same(metricsOf([2, 1, -1, -2], [1, 1, 0, 0]), { balanced: 1, accuracy: 1, f1: 1, auroc: 1 });
  t.same(metricsOf([-1, 1, 1, -1, -1], [1, 1, 0, 0, 0]), {
    balanced: (1 / 2 + 2 / 3) / 2,
    accuracy: 3 / 5,
    f1: 1 / 2,
    auroc: (0 + 0.5 + 0.5 + 0.5 + 1 + 1) / 6,
  });
  const scores = Array.from({ length: 60 }, (_, i) => Math.round(10 * Math.sin(i * i)));
  const labels = scores.map((_, i) => Number(i % 3 === 0));
  let won = 0;
  let pairs = 0;
  for (const [i, label] of labels.entries()) {
    for (const [j, other] of labels.entries()) {
      if (label === 1 && other === 0) {
        pairs++;
        won += scores[i] === scores[j] ? 0.5 : Number((scores[i] as number) > (scores[j] as number));
      }
    }
  }
  t.ok(Math.abs(metricsOf(scores, labels).auroc - won / pairs) < 1e-12, 'the area is the share of pairs');
});
