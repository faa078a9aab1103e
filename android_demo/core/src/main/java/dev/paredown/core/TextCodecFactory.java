package dev.paredown.core;

/** Opens the text side of a bundle. */
public interface TextCodecFactory {
    /**
     * @param bundle with every byte checked
     * @throws ParedownException it has no tokenizer, or one that is not supported
     */
    TextCodec open(Bundle bundle);
}
