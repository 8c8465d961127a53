// Runs the stories one after another (each starts servers of its own) and fails when one does.
// `node run.mjs agent browser` runs only stories with these names.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

if (!process.env.CHATELAINE_BIN) {
  console.error('set CHATELAINE_BIN to the binary, such as ../target/debug/chatelaine, or run: cargo xtask test --only e2e');
  process.exit(2);
}
const folder = join(import.meta.dirname, 'stories');
const wanted = process.argv.slice(2);
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.story.mjs'))
  .filter((name) => wanted.length === 0 || wanted.some((one) => name.startsWith(one)))
  .sort()
  .map((name) => join(folder, name));
if (files.length === 0) {
  console.error('there is no such story');
  process.exit(2);
}

let passed = 0;
run({ files, concurrency: 1, timeout: 300_000 })
  .on('test:pass', (event) => { if (event.details?.type !== 'suite') passed += 1; })
  .on('test:fail', () => { process.exitCode = 1; })
  .compose(new spec())
  .on('end', () => {
    if (passed === 0) process.exitCode = 1;
  })
  .pipe(process.stdout);
