// Bundles the page into dist/. index.html is written last: the binary takes its being there as "the page was built".
import { copyFile, mkdir, rm } from 'node:fs/promises';
import { build } from 'esbuild';

const common = { bundle: true, jsx: 'automatic', jsxImportSource: 'preact', logLevel: 'warning' };

if (process.argv.includes('--test')) {
  await build({ ...common, entryPoints: ['src/format.test.ts'], platform: 'node', format: 'esm', outdir: 'build', outExtension: { '.js': '.mjs' } });
} else {
  await mkdir('dist', { recursive: true });
  await rm('dist/index.html', { force: true });
  await build({
    ...common,
    entryPoints: [{ in: 'src/main.tsx', out: 'app' }],
    outdir: 'dist',
    format: 'iife',
    target: ['es2022'],
    minify: true,
    legalComments: 'eof',
  });
  await copyFile('src/index.html', 'dist/index.html');
}
