/**
 * Text to token ids and back, from a bundle's tokenizer.json (format of Hugging Face tokenizers).
 *
 * <p>Two kinds: byte-level BPE and SentencePiece-style BPE with byte fallback. What a file asks for
 * and this package does not do is refused when the file is read, by name; nothing is approximated.
 */
package dev.paredown.core.tokenizer;
