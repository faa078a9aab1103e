package dev.paredown.core;

import java.io.File;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/** What every Linux says: /proc, thermal zones, cpufreq. Much of it is closed to apps. */
public class LinuxSensors implements Sensors {
    private static final String CPUS = "sys/devices/system/cpu";
    private static final String ZONES = "sys/class/thermal";
    private static final double HZ_PER_KHZ = 1000;
    private static final double CELSIUS_PER_UNIT = 0.001;

    private final ProcReader proc;

    /** @param proc where to look */
    public LinuxSensors(ProcReader proc) {
        this.proc = proc;
    }

    @Override
    public Map<String, Reading> all() {
        Map<String, Reading> readings = new LinkedHashMap<>();
        readings.put("cpu_model", cpuModel());
        readings.put("cpu_count", cpuCount());
        readings.put("memory_total_bytes", meminfo("MemTotal"));
        readings.put("memory_available_bytes", meminfo("MemAvailable"));
        readings.put("swap_used_bytes", swapUsed());
        readings.put("kernel", text("proc/sys/kernel/osrelease"));
        readings.put("boot_id", text("proc/sys/kernel/random/boot_id"));
        readings.put("uptime_s", firstNumber("proc/uptime"));
        readings.put("load_average_1m", firstNumber("proc/loadavg"));
        readings.put("machine", Reading.of(System.getProperty("os.arch", "unknown")));
        readings.put("java", Reading.of(System.getProperty("java.vm.version", "unknown")));
        readings.putAll(moving());
        return readings;
    }

    @Override
    public Map<String, Reading> moving() {
        Map<String, Reading> readings = new LinkedHashMap<>();
        readings.put("governor", governor());
        readings.put("cpu_frequency_hz", frequency("scaling_cur_freq"));
        readings.put("cpu_frequency_max_hz", frequency("scaling_max_freq"));
        readings.put("temperature_celsius", temperature());
        readings.put("swapped_pages", swappedPages());
        return readings;
    }

    @Override
    public Reading affinity() {
        String cores = proc.field("proc/self/status", "Cpus_allowed_list");
        return cores == null
                ? Reading.absent("/proc/self/status has no Cpus_allowed_list")
                : Reading.of(cores, "Java binds no process to cores; these may be used");
    }

    @Override
    public Reading dropPageCache(List<File> files) {
        return Reading.absent("Java has no posix_fadvise: the load was not cold");
    }

    /** The board's name where the device tree has one, else the CPU's own. */
    private Reading cpuModel() {
        String board = proc.text("proc/device-tree/model");
        String model = board == null ? proc.text("sys/firmware/devicetree/base/model") : board;
        if (model == null) {
            model = proc.field("proc/cpuinfo", "model name");
        }
        if (model == null) {
            model = proc.field("proc/cpuinfo", "Hardware");
        }
        return model == null
                ? Reading.absent("no device-tree model and no name in /proc/cpuinfo")
                : Reading.of(model);
    }

    private Reading cpuCount() {
        String info = proc.read("proc/cpuinfo");
        int count = 0;
        for (String line : (info == null ? "" : info).split("\n")) {
            count += line.split(":")[0].trim().equals("processor") ? 1 : 0;
        }
        return count > 0 ? Reading.of(count) : Reading.absent("/proc/cpuinfo lists no processor");
    }

    private Reading meminfo(String name) {
        Long bytes = proc.kibibytes("proc/meminfo", name);
        return bytes == null
                ? Reading.absent("/proc/meminfo has no " + name)
                : Reading.of(bytes.doubleValue());
    }

    private Reading swapUsed() {
        Reading total = meminfo("SwapTotal");
        Reading free = meminfo("SwapFree");
        if (total.number() == null || free.number() == null) {
            return total.number() == null ? total : free;
        }
        return Reading.of(total.number() - free.number());
    }

    private Reading swappedPages() {
        double pages = 0;
        int found = 0;
        String text = proc.read("proc/vmstat");
        for (String line : (text == null ? "" : text).split("\n")) {
            if (line.startsWith("pswpin ") || line.startsWith("pswpout ")) {
                pages += Double.parseDouble(line.substring(line.indexOf(' ') + 1).trim());
                found++;
            }
        }
        return found == 2
                ? Reading.of(pages)
                : Reading.absent("/proc/vmstat has no pswpin and pswpout");
    }

    private Reading governor() {
        TreeSet<String> names = new TreeSet<>();
        for (String cpu : proc.names(CPUS)) {
            String name = proc.text(CPUS + "/" + cpu + "/cpufreq/scaling_governor");
            if (cpu.matches("cpu[0-9]+") && name != null) {
                names.add(name);
            }
        }
        return names.isEmpty()
                ? Reading.absent("no readable cpufreq/scaling_governor")
                : Reading.of(String.join(", ", names));
    }

    private Reading frequency(String file) {
        double highest = 0;
        for (String cpu : proc.names(CPUS)) {
            Double khz = cpu.matches("cpu[0-9]+")
                    ? proc.number(CPUS + "/" + cpu + "/cpufreq/" + file)
                    : null;
            highest = khz == null ? highest : Math.max(highest, khz);
        }
        return highest > 0
                ? Reading.of(highest * HZ_PER_KHZ)
                : Reading.absent("no readable cpufreq/" + file);
    }

    /** The hottest thermal zone. */
    private Reading temperature() {
        Double hottest = null;
        for (String zone : proc.names(ZONES)) {
            Double value = zone.startsWith("thermal_zone")
                    ? proc.number(ZONES + "/" + zone + "/temp")
                    : null;
            if (value != null && (hottest == null || value > hottest)) {
                hottest = value;
            }
        }
        return hottest == null
                ? Reading.absent("no readable thermal zone")
                : Reading.of(hottest * CELSIUS_PER_UNIT);
    }

    private Reading text(String path) {
        String text = proc.text(path);
        return text == null ? Reading.absent("/" + path + " cannot be read") : Reading.of(text);
    }

    private Reading firstNumber(String path) {
        String text = proc.text(path);
        try {
            return Reading.of(Double.parseDouble((text == null ? "" : text).split(" ")[0]));
        } catch (NumberFormatException unreadable) {
            return Reading.absent("/" + path + " cannot be read");
        }
    }
}
