/** Compiles every block of TypeScript in the documents, so that none of them lies. */
import { spawnSync } from 'node:child_process'
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'

const folder = 'dist/examples'
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
let count = 0
for (const document of globSync(['*.md', 'docs/**/*.md']))
  for (const [, code = ''] of readFileSync(document, 'utf8').matchAll(/^```ts\n([\s\S]*?)^```$/gm))
    writeFileSync(`${folder}/${document.replaceAll('/', '-')}-${++count}.ts`, `${code}\nexport {}\n`)
writeFileSync(`${folder}/tsconfig.json`, JSON.stringify({ extends: '../../tsconfig.json', include: ['*.ts'] }))
if (count > 0) process.exit(spawnSync('tsc', ['-p', folder], { stdio: 'inherit' }).status ?? 1)
