import { fileURLToPath } from 'node:url'

export const sourceLauncher = fileURLToPath(new URL('../bin/messageu.js', import.meta.url))

/** What starts `messageu`: tests do it so often that the suite makes one piece of it first, as it is published. */
export const launcher = process.env.TEST_PROGRAM ?? sourceLauncher
