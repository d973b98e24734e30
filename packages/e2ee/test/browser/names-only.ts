/** To be imported before tests are: gives them `bodiless.ts` for `node:test`. */
import { registerHooks } from 'node:module'

const standIn = new URL('./bodiless.ts', import.meta.url).href

registerHooks({
  resolve(specifier, context, next) {
    if (specifier !== 'node:test' || context.parentURL === standIn) return next(specifier, context)
    return { url: standIn, shortCircuit: true }
  },
})
