package dev.paredown.core;

/** Opens engines of one backend. */
public interface EngineFactory {
    /** The manifest's word: {@code onnx} or {@code executorch}. */
    String backend();

    /**
     * Load the runtime's libraries, without a model. What this takes counts neither as load time
     * nor as the model's memory.
     *
     * @throws ParedownException the libraries are not here, or are of another processor
     */
    void prepare();

    /**
     * Load a model.
     *
     * @param bundle with every byte checked
     * @param threads compute threads, 1 or more
     * @throws ParedownException the runtime cannot load the model
     */
    Engine open(Bundle bundle, int threads);
}
