/** Owns small texts made at the first start and kept in the data directory, readable by the owner alone. */
import { readFile, rename, writeFile } from 'node:fs/promises';

/** The file's text, trimmed; where there is none, what `make` gives, kept there from then on. Appears whole or not at all. */
export async function keptOrMade(file: string, make: () => string): Promise<{ text: string; made: boolean }> {
  try {
    return { text: (await readFile(file, 'utf8')).trim(), made: false };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const text = make().trim();
  await writeFile(`${file}.new`, `${text}\n`, { mode: 0o600, flush: true });
  await rename(`${file}.new`, file);
  return { text, made: true };
}
