// scripts/layers.mjs accepts this repository, and reports every kind of forbidden import.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const script = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'scripts', 'layers.mjs');

function layers(...args: string[]): { status: number | null; lines: string[] } {
  const { status, stderr } = spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' });
  return { status, lines: stderr.split('\n').filter((line) => line !== '') };
}

t.test('this repository has no forbidden import', async (t) => {
  t.same(layers(), { status: 0, lines: [] });
});

t.test('allowed imports are accepted', async (t) => {
  const folder = t.testdir({
    lib: {
      'index.ts': "export { svft } from './families/svft.js';",
      cli: { 'main.ts': "import { svft } from '../index.js';\nimport '../tensor/tensor.js';" },
      integrations: {
        tfjs: { 'index.ts': "import { svft } from '../../index.js';\nexport * from './dense.js';", 'dense.ts': '' },
      },
      families: {
        'svft.ts': "import { part } from './part.js';\nimport { svd } from '../linalg/svd.js';",
        'part.ts': "import type { Tensor } from '../tensor/tensor.js';\nimport { join } from 'node:path';",
      },
      runtime: { 'device.ts': "// import '../families/svft.js'\nconst text = \"import '../index.js'\";" },
    },
    native: {
      contract: { 'backend.h': '#include <stdint.h>' },
      addon: { 'addon.cc': '#include <napi.h>\n#include "contract/backend.h"\n#include "recipes/adapter.h"' },
      recipes: { 'adapter.h': '#include "contract/backend.h"', 'svd.h': '' },
      cpu: {
        'backend.cc': '#include "cpu/ops.h"\n#include "cpu/svd/svd.h"',
        'ops.h': '#include "contract/backend.h"',
        gemm: { 'blas.h': '' },
        svd: {
          'svd.cc':
            '#include <cblas.h>\n#include "contract/backend.h"\n#include "cpu/gemm/blas.h"\n#include "recipes/svd.h"',
          'svd.h': '',
        },
      },
      cuda: {
        svd: { 'svd.cu': '#include <cuda_runtime.h>\n#include "kernels/svd.cuh"', kernels: { 'svd.cuh': '' } },
      },
    },
    test: { linalg: { 'svd.test.ts': "import { svd } from 'sigmatune';\nimport '../helpers.js';" } },
  });
  t.same(layers(folder), { status: 0, lines: [] });
});

t.test('each forbidden import is reported', async (t) => {
  const folder = t.testdir({
    lib: {
      'new.ts': '',
      'index.ts': "import './cli/main.js';",
      integrations: { tfjs: { 'index.ts': "import { svft } from '../../families/svft.js';" } },
      tensor: { 'tensor.ts': "import type { svd } from '../linalg/svd.js';" },
      operator: { 'terms.ts': "export { svft } from '../families/svft.js';" },
      families: { 'svft.ts': '' },
      optim: { 'adamw.ts': "import { matmul } from '../linalg/matmul.js';" },
      sparse: { 'csr.ts': "const svd = await import('../linalg/svd.js');" },
      runtime: { 'device.ts': "import { helper } from '../../test/helpers.js';" },
    },
    native: {
      contract: { 'backend.h': '#include <cblas.h>' },
      addon: { 'addon.cc': '#include "cpu/ops.h"', 'args.h': '' },
      recipes: { 'adapter.cc': '#include <lapacke.h>', 'adapter.h': '', 'svd.h': '' },
      cpu: {
        'ops.h': '',
        runtime: { 'pool.h': '#include "cpu/gemm/blas.h"' },
        gemm: { 'blas.h': '' },
        svd: { 'svd.cc': '#include <napi.h>\n#include "addon/args.h"', 'routes.cc': '#include "recipes/adapter.h"' },
        sparse: {
          'spmm.cc': '#  include <node_api.h>\n#include "cpu/gemm/blas.h"',
          'sddmm.cc': '#include "recipes/svd.h"',
        },
      },
      cuda: { svd: { 'svd.cu': '#include "cpu/ops.h"', kernels: { 'svd.cuh': '#include <cuda_runtime.h>' } } },
      other: { 'x.cc': '' },
    },
    test: { linalg: { 'svd.test.ts': "import { svd } from '../../lib/linalg/svd.js';" } },
    examples: { 'main.js': "import { svd } from '../dist/index.js';" },
    bench: {
      reference: { 'dense.js': "import '../stats/quantile.js';" },
      cases: { 'svd.js': "import '../reference/dense.js';\nimport '../figures/mark.js';" },
      figures: { 'mark.js': "import '../rivals/torch.js';" },
    },
  });
  const { status, lines } = layers(folder);
  t.equal(status, 1);
  t.same(lines.sort(), [
    'bench/cases/svd.js: bench/cases must not import bench/figures/mark.js',
    'bench/reference/dense.js: bench/reference must not import bench/stats/quantile.js',
    'examples/main.js: import the package by its name, not dist/index.js',
    'lib/index.ts: index.ts must not import lib/cli/main.ts',
    'lib/integrations/tfjs/index.ts: integrations must not import lib/families/svft.ts',
    'lib/new.ts: lib/new.ts has no row in scripts/layers.mjs',
    'lib/operator/terms.ts: operator must not import lib/families/svft.ts',
    'lib/optim/adamw.ts: optim must not import lib/linalg/matmul.ts',
    'lib/runtime/device.ts: runtime must not import test/helpers.js',
    'lib/sparse/csr.ts: sparse must not import lib/linalg/svd.ts',
    'lib/tensor/tensor.ts: tensor must not import lib/linalg/svd.ts',
    'native/addon/addon.cc: native/addon must not include native/cpu/ops.h',
    'native/contract/backend.h: native/contract must not include cblas.h',
    'native/cpu/runtime/pool.h: native/cpu/runtime must not include native/cpu/gemm/blas.h',
    'native/cpu/sparse/sddmm.cc: native/cpu/sparse must not include native/recipes/svd.h',
    'native/cpu/sparse/spmm.cc: native/cpu/sparse must not include native/cpu/gemm/blas.h',
    'native/cpu/sparse/spmm.cc: native/cpu/sparse must not include node_api.h',
    'native/cpu/svd/routes.cc: native/cpu/svd must not include native/recipes/adapter.h',
    'native/cpu/svd/svd.cc: native/cpu/svd must not include napi.h',
    'native/cpu/svd/svd.cc: native/cpu/svd must not include native/addon/args.h',
    'native/cuda/svd/kernels/svd.cuh: native/cuda/svd/kernels must not include cuda_runtime.h',
    'native/cuda/svd/svd.cu: native/cuda/svd must not include native/cpu/ops.h',
    'native/other/x.cc: no row of scripts/layers.mjs covers it',
    'native/recipes/adapter.cc: native/recipes must not include lapacke.h',
    'test/linalg/svd.test.ts: import the package by its name, not lib/linalg/svd.ts',
  ]);
});
