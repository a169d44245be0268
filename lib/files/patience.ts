/** What Windows alone needs: it refuses for a moment what succeeds a moment later. */
import { setTimeout as sleep } from 'node:timers/promises';
import { systemCode } from './complaints.js';

/** What Windows says of a file that another program has open. Virus scanners open each new file. */
const held = ['EPERM', 'EACCES', 'EBUSY'];

/** In milliseconds; 2.5 seconds in all. */
const pauses = [10, 20, 40, 80, 160, 320, 640, 1280];

/** Calls `attempt`; on Windows again, after a pause, for as long as another program has the file. */
export async function patiently<T>(attempt: () => Promise<T>, platform: string = process.platform): Promise<T> {
  for (const pause of platform === 'win32' ? pauses : []) {
    try {
      return await attempt();
    } catch (error) {
      if (!held.includes(systemCode(error) ?? '')) throw error;
      await sleep(pause);
    }
  }
  return attempt();
}
