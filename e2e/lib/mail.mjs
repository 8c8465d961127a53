// The demo's mail: one .eml file each in a folder.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { within } from './api.mjs';

const seen = new Set();

/** Waits for a mail to somebody that was not looked at before, and returns what it says. */
export async function mailTo(folder, address, millis = 5000) {
  const { result } = await within(millis, `a mail to ${address}`, () => unread(folder, address)[0]);
  seen.add(result.path);
  return result.text;
}

/** Mails to somebody that were not looked at before. */
export function unread(folder, address) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith('.eml') && !name.startsWith('.'))
    .sort()
    .map((name) => join(folder, name))
    .filter((path) => !seen.has(path))
    .map((path) => ({ path, text: readFileSync(path, 'utf8') }))
    .filter(({ text }) => text.includes(`To: ${address}\r\n`));
}
