/** docs/distributed.md: the manifest is YAML of an MPIJob's form, and the scripts are valid for bash. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { output } from '../support/mpi.js';

const page = readFileSync(new URL('../../docs/distributed.md', import.meta.url), 'utf8');
const blockOf = (language: string) => page.split(`\`\`\`${language}\n`)[1]?.split('\n```')[0] ?? '';

t.test('the manifest has the form of a v2beta1 MPIJob', async (t) => {
  const job = parse(blockOf('yaml'), { strict: true, uniqueKeys: true });
  t.match(job, { apiVersion: 'kubeflow.org/v2beta1', kind: 'MPIJob', metadata: { name: String } });
  t.same(Object.keys(job).sort(), ['apiVersion', 'kind', 'metadata', 'spec']);
  const known = ['slotsPerWorker', 'mpiImplementation', 'runPolicy', 'mpiReplicaSpecs', 'sshAuthMountPath'];
  for (const key of Object.keys(job.spec)) t.ok(known.includes(key), key);
  t.ok(['OpenMPI', 'MPICH', 'Intel'].includes(job.spec.mpiImplementation));
  const { Launcher, Worker, ...others } = job.spec.mpiReplicaSpecs;
  t.same(others, {});
  t.equal(Launcher.replicas, 1);
  for (const [name, { template }] of Object.entries({ Launcher, Worker })) {
    const volumes = (template.spec.volumes ?? []).map((each: { name: string }) => each.name);
    for (const { name: container, image, args = [], env = [], volumeMounts = [] } of template.spec.containers) {
      t.type(container, 'string', name);
      t.type(image, 'string', name);
      t.ok(
        [...args, ...env.map(({ value }: { value: unknown }) => value)].every((word) => typeof word === 'string'),
        'Kubernetes takes strings only',
      );
      for (const mount of volumeMounts) t.ok(volumes.includes(mount.name), `${mount.name} is a volume`);
    }
  }
  const [{ args }] = Launcher.template.spec.containers;
  t.equal(Number(args[args.indexOf('-n') + 1]), Worker.replicas * job.spec.slotsPerWorker, 'a rank for each slot');
});

t.test('the Slurm script is valid for bash', async (t) => {
  const script = join(t.testdir({ 'job.sh': blockOf('bash') }), 'job.sh');
  t.match(blockOf('bash'), /^#!\/bin\/bash\n#SBATCH /);
  const { code, err } = await output('bash', ['-n', script]);
  t.equal(code, 0, err);
});
