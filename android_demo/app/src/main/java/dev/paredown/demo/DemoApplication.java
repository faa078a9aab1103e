package dev.paredown.demo;

import android.app.Application;
import android.content.ComponentCallbacks2;
import android.content.Context;

/** Owns what outlives a screen; Android recreates screens when the phone is turned. */
public final class DemoApplication extends Application {
    private Workshop workshop;
    private BenchmarkRun benchmark;

    static DemoApplication of(Context context) {
        return (DemoApplication) context.getApplicationContext();
    }

    /** The chat's bundle and engine; made when a screen first asks, never in another process. */
    Workshop workshop() {
        if (workshop == null) {
            workshop = new Workshop(this);
        }
        return workshop;
    }

    /** The benchmark that runs or ran last. */
    BenchmarkRun benchmark() {
        if (benchmark == null) {
            benchmark = new BenchmarkRun(this);
        }
        return benchmark;
    }

    @Override
    public void onTrimMemory(int level) {
        super.onTrimMemory(level);
        boolean critical = level == ComponentCallbacks2.TRIM_MEMORY_RUNNING_CRITICAL;
        if (critical || level >= ComponentCallbacks2.TRIM_MEMORY_BACKGROUND) {
            makeRoom();
        }
    }

    @Override
    public void onLowMemory() {
        super.onLowMemory();
        makeRoom();
    }

    private void makeRoom() {
        if (workshop != null) {
            workshop.letGo(getString(R.string.memory_low));
        }
    }
}
