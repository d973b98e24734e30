/** What an alarm about an account means. */
export const alarmSentences = {
  'other-account': 'the name stands for another account than before; compare safety numbers before you write',
  'older-list': 'the server has shown an old device list',
  'forked-list': 'the server has shown two device lists that contradict each other',
} as const
