package dev.paredown.core;

/** Opens a {@link FakeEngine}. */
class FakeFactory implements EngineFactory {
    static final long OPEN_NS = 5000;

    final FakeClock clock;
    FakeEngine engine;
    int prepared;

    FakeFactory(FakeClock clock) {
        this.clock = clock;
    }

    @Override
    public String backend() {
        return "onnx";
    }

    @Override
    public void prepare() {
        prepared++;
    }

    @Override
    public Engine open(Bundle bundle, int threads) {
        clock.nowNs += OPEN_NS;
        engine = new FakeEngine(bundle.manifest().vocabSize, clock);
        return engine;
    }
}
