package dev.paredown.demo;

import android.content.Context;
import android.content.Intent;
import android.content.IntentFilter;
import android.os.BatteryManager;
import android.os.Build;
import android.os.PowerManager;
import android.os.SystemClock;
import dev.paredown.core.LinuxSensors;
import dev.paredown.core.ProcReader;
import dev.paredown.core.Reading;
import java.util.LinkedHashMap;
import java.util.Map;

/** What Android tells every app, over what its kernel lets an app read. */
final class AndroidSensors extends LinuxSensors {
    /** {@code PowerManager.THERMAL_STATUS_*}, by number. */
    private static final String[] THERMAL_STATUS = {
        "none", "light", "moderate", "severe", "critical", "emergency", "shutdown"
    };

    /** Asked more often than about once a second, Android answers NaN. */
    private static final long HEADROOM_INTERVAL_MS = 1100;

    private static final double MICRO = 1e-6;
    private static final double MILLI = 1e-3;
    private static final double TENTH = 0.1;
    /** A phone that computes draws more; less means that its maker counts in another unit. */
    private static final double LEAST_WATTS = 0.05;

    private final Context context;
    private final PowerManager power;
    private final BatteryManager meter;
    private Reading headroom = Reading.absent("not asked yet");
    private long headroomAtMs = Long.MIN_VALUE;

    AndroidSensors(Context context, ProcReader proc) {
        super(proc);
        this.context = context;
        this.power = context.getSystemService(PowerManager.class);
        this.meter = context.getSystemService(BatteryManager.class);
    }

    @Override
    public Map<String, Reading> all() {
        Map<String, Reading> readings = new LinkedHashMap<>(super.all());
        if (readings.get("cpu_model").value() == null) {
            readings.put("cpu_model", processor());
        }
        readings.put("phone_model", Reading.of(Build.MANUFACTURER + " " + Build.MODEL));
        readings.put("android_version", Reading.of(Build.VERSION.RELEASE));
        readings.put("android_api_level", Reading.of(Build.VERSION.SDK_INT));
        readings.put("power_save_mode", Reading.of(power.isPowerSaveMode() ? "yes" : "no"));
        return readings;
    }

    @Override
    public Map<String, Reading> moving() {
        Map<String, Reading> readings = new LinkedHashMap<>(super.moving());
        Intent battery =
                context.registerReceiver(null, new IntentFilter(Intent.ACTION_BATTERY_CHANGED));
        readings.put("battery_percent", percent(battery));
        readings.put("battery_charging", charging(battery));
        readings.put("battery_celsius", celsius(battery));
        readings.put("power_watts", watts(battery));
        readings.put("thermal_status", thermalStatus());
        readings.put("thermal_headroom", thermalHeadroom());
        return readings;
    }

    private static Reading processor() {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) {
            return Reading.of(Build.SOC_MANUFACTURER + " " + Build.SOC_MODEL);
        }
        return Reading.of(Build.HARDWARE);
    }

    private static Reading percent(Intent battery) {
        int level = extra(battery, BatteryManager.EXTRA_LEVEL);
        int scale = extra(battery, BatteryManager.EXTRA_SCALE);
        return level < 0 || scale <= 0
                ? Reading.absent("Android does not say")
                : Reading.of(100.0 * level / scale);
    }

    private static Reading charging(Intent battery) {
        int plugged = extra(battery, BatteryManager.EXTRA_PLUGGED);
        return plugged < 0
                ? Reading.absent("Android does not say")
                : Reading.of(plugged == 0 ? "no" : "yes");
    }

    private static Reading celsius(Intent battery) {
        int tenths = extra(battery, BatteryManager.EXTRA_TEMPERATURE);
        return tenths == -1
                ? Reading.absent("Android does not say")
                : Reading.of(tenths * TENTH);
    }

    /** What a discharging battery gives: the whole phone, its screen included. */
    private Reading watts(Intent battery) {
        if (extra(battery, BatteryManager.EXTRA_PLUGGED) != 0) {
            return Reading.absent("the phone is plugged in");
        }
        int microamperes = meter.getIntProperty(BatteryManager.BATTERY_PROPERTY_CURRENT_NOW);
        int millivolts = extra(battery, BatteryManager.EXTRA_VOLTAGE);
        if (microamperes == Integer.MIN_VALUE || microamperes == 0 || millivolts <= 0) {
            return Reading.absent("the phone has no current meter");
        }
        double watts = Math.abs((double) microamperes) * MICRO * millivolts * MILLI;
        return watts < LEAST_WATTS
                ? Reading.absent("the current meter's unit is not the documented one")
                : Reading.of(watts);
    }

    private Reading thermalStatus() {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.Q) {
            return Reading.absent("Android says it from version 10 on");
        }
        int status = power.getCurrentThermalStatus();
        return Reading.of(
                status >= 0 && status < THERMAL_STATUS.length
                        ? THERMAL_STATUS[status]
                        : "unknown (" + status + ")");
    }

    /** 1.0 is where the status becomes severe. */
    private Reading thermalHeadroom() {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.R) {
            return Reading.absent("Android says it from version 11 on");
        }
        long now = SystemClock.elapsedRealtime();
        if (now >= headroomAtMs + HEADROOM_INTERVAL_MS || headroomAtMs == Long.MIN_VALUE) {
            headroomAtMs = now;
            float value = power.getThermalHeadroom(0);
            headroom = Float.isNaN(value)
                    ? Reading.absent("this phone does not say, or was asked too often")
                    : Reading.of(value);
        }
        return headroom;
    }

    /** -1: not said. */
    private static int extra(Intent battery, String name) {
        return battery == null ? -1 : battery.getIntExtra(name, -1);
    }
}
