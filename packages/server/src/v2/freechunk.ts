/**
 * Gives back the memory of a piece that is all of what one read from a socket brought; one that shares its memory, as
 * with the head of a request, is left to collection. Left to it, the chunks of a large upload grow old while they wait
 * for the disk, and each 64 MiB of them make it look at the whole heap.
 */
export function freeChunk(piece: Uint8Array): void {
  const { buffer } = piece
  if (buffer instanceof ArrayBuffer && piece.byteLength === buffer.byteLength) buffer.transfer(0)
}
