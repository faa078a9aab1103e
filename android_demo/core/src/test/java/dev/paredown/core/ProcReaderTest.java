package dev.paredown.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNull;

import java.io.File;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.Before;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public class ProcReaderTest {
    @Rule public final TemporaryFolder folder = new TemporaryFolder();

    private File root;
    private ProcReader proc;

    @Before
    public void makeRoot() {
        root = folder.getRoot();
        proc = new ProcReader(root);
    }

    private void file(String path, String text) throws Exception {
        Made.text(new File(root, path), text);
    }

    @Test
    public void sizesOfThisProcess() throws Exception {
        file("proc/self/status", "Name:\tjava\nVmPeak:\t 9 kB\nVmHWM:\t  123456 kB\n"
                + "RssAnon:\t     12 kB\nRssFile:\t1 MB\nRssShmem:\t-5 kB\nVmSwap:\n");
        file("proc/self/smaps_rollup", "00-ff ---p 0 0:0 0  [rollup]\nRss:  7 kB\nPss:   65 kB\n");
        assertEquals(Long.valueOf(123456L * 1024), proc.peakRssBytes());
        assertEquals(Long.valueOf(12 * 1024), proc.statusBytes("RssAnon"));
        assertNull(proc.statusBytes("RssFile"));
        assertNull(proc.statusBytes("RssShmem"));
        assertNull(proc.statusBytes("VmSwap"));
        assertNull(proc.statusBytes("VmRSS"));
        assertEquals(Long.valueOf(65 * 1024), proc.pssBytes());
    }

    @Test
    public void olderKernelsListMappingsButDoNotAddThemUp() throws Exception {
        file("proc/self/smaps", "00-10 r-xp 0 0:0 0 /a\nSize: 9 kB\nPss:    5 kB\nPss_Dirty: 1 kB\n"
                + "10-20 rw-p 0 0:0 0\nPss:   37 kB\nSwapPss:  8 kB\n");
        assertEquals(Long.valueOf(42 * 1024), proc.pssBytes());
    }

    @Test
    public void whatIsNotThereIsNull() {
        assertNull(proc.peakRssBytes());
        assertNull(proc.pssBytes());
        assertNull(proc.read("proc/stat"));
        assertNull(proc.number("sys/x"));
        assertEquals(0, proc.names("sys/class").length);
    }

    @Test
    public void sensorsOfAPhoneLikeRoot() throws Exception {
        file("proc/cpuinfo", "processor\t: 0\nBogoMIPS : 1\nprocessor\t: 1\nHardware\t: Tensor\n");
        file("proc/meminfo", "MemTotal: 2000 kB\nMemAvailable: 500 kB\nSwapTotal: 100 kB\n"
                + "SwapFree: 40 kB\n");
        file("proc/vmstat", "nr_free 1\npswpin 3\npswpout 4\n");
        file("proc/uptime", "12.5 40.0\n");
        file("proc/self/status", "Cpus_allowed_list:\t0-7\n");
        file("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "schedutil\n");
        file("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1000000\n");
        file("sys/devices/system/cpu/cpu7/cpufreq/scaling_governor", "performance\n");
        file("sys/devices/system/cpu/cpu7/cpufreq/scaling_cur_freq", "2850000\n");
        file("sys/devices/system/cpu/cpufreq/scaling_governor", "no core\n");
        file("sys/class/thermal/thermal_zone0/temp", "-5000\n");
        file("sys/class/thermal/thermal_zone1/temp", "41500\n");
        file("sys/class/thermal/cooling_device0/temp", "99000\n");
        Map<String, Reading> readings = new LinuxSensors(proc).all();
        assertEquals("Tensor", readings.get("cpu_model").value());
        assertEquals(2.0, readings.get("cpu_count").value());
        assertEquals(2000.0 * 1024, readings.get("memory_total_bytes").value());
        assertEquals(60.0 * 1024, readings.get("swap_used_bytes").value());
        assertEquals(7.0, readings.get("swapped_pages").value());
        assertEquals(12.5, readings.get("uptime_s").value());
        assertEquals("performance, schedutil", readings.get("governor").value());
        assertEquals(2.85e9, readings.get("cpu_frequency_hz").value());
        assertEquals(41.5, readings.get("temperature_celsius").value());
        assertNull(readings.get("cpu_frequency_max_hz").value());
        assertEquals("no readable cpufreq/scaling_max_freq",
                readings.get("cpu_frequency_max_hz").reason());
        assertEquals("0-7", new LinuxSensors(proc).affinity().value());
    }

    @Test
    public void othersWorkIsWhatIsBusyLessOurOwn() throws Exception {
        FakeClock clock = new FakeClock();
        file("proc/stat", "cpu  100 0 50 9000 7 0 0 0 0 0\ncpu0 1\n");
        file("proc/self/stat", "12 (a) b) S 1 1 1 0 -1 0 0 0 0 0 20 10 0 0 20 0\n");
        OtherWork work = new OtherWork(proc, clock);
        assertEquals("0.000 s are too short for the kernel's ticks", work.cores().reason());
        clock.nowNs = 2_000_000_000L;
        file("proc/stat", "cpu  250 10 80 9500 7 5 5 0 0 0\ncpu0 1\n");
        file("proc/self/stat", "12 (a) b) S 1 1 1 0 -1 0 0 0 0 0 70 30 0 0 20 0\n");
        // Busy: 150 + 10 + 30 + 5 + 5 = 200 ticks, ours 70: 1.3 s of 2 s.
        assertEquals(0.65, work.cores().number(), 1e-6);
    }

    @Test
    public void energyIsPowerOverTime() {
        FakeSensors sensors = new FakeSensors(new FakeClock());
        List<Snapshot> trace = new ArrayList<>();
        trace.add(Snapshot.take(0, sensors));
        assertNull(Energy.joules(trace).value());
        trace.add(Snapshot.take(1_500_000_000L, sensors));
        assertEquals(3.0, Energy.joules(trace).number(), 1e-12);
    }
}
