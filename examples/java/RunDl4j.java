import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.zip.ZipFile;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.deeplearning4j.nn.multilayer.MultiLayerNetwork;
import org.deeplearning4j.util.ModelSerializer;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.factory.Nd4j;

/**
 * Runs an archive with DeepLearning4J, prints the first choice of every sample and the latency, as RunModel does.
 *
 *     OMP_NUM_THREADS=1 java -cp "lib-dl4j/*" RunDl4j.java MODEL.zip SHAPE [SAMPLES.f32] [RUNS]
 *
 * SHAPE is that of one sample, such as 1,28,28, which an archive does not hold.
 */
public class RunDl4j {
  private final MultiLayerNetwork layers;
  private final ComputationGraph graph;

  private RunDl4j(File file) throws IOException {
    boolean isGraph;
    try (ZipFile zip = new ZipFile(file)) {
      byte[] json = zip.getInputStream(zip.getEntry("configuration.json")).readAllBytes();
      isGraph = new String(json).contains("\"vertices\"");
    }
    layers = isGraph ? null : ModelSerializer.restoreMultiLayerNetwork(file, false);
    graph = isGraph ? ModelSerializer.restoreComputationGraph(file, false) : null;
  }

  public static void main(String[] args) throws IOException {
    if (args.length < 2) {
      System.err.println("java -cp \"lib-dl4j/*\" RunDl4j.java MODEL.zip SHAPE [SAMPLES.f32] [RUNS]");
      System.exit(2);
    }
    int[] shape = Arrays.stream(("1," + args[1]).split(",")).mapToInt(Integer::parseInt).toArray();
    int size = Arrays.stream(shape).reduce(1, (a, b) -> a * b);
    int runs = args.length > 3 ? Integer.parseInt(args[3]) : 200;
    long begun = System.nanoTime();
    RunDl4j model = new RunDl4j(new File(args[0]));
    System.out.printf("runtime  DeepLearning4J, Java %s%n", Runtime.version().feature());
    System.out.printf("load     %.1f ms%n", millis(begun));
    float[][] samples = args.length > 2 ? read(Path.of(args[2]), size) : new float[][] {madeUp(size)};
    for (int i = 0; i < samples.length; i++) {
      float[] scores = model.run(samples[i], shape);
      int best = argmax(scores);
      System.out.printf("top-1    %d: class %d, %.6f%n", i, best, scores[best]);
    }
    System.out.printf("latency  %.3f ms, the median of %d runs%n", model.latency(samples[0], shape, runs), runs);
  }

  /** The first output of one sample. */
  private float[] run(float[] sample, int[] shape) {
    INDArray x = Nd4j.create(sample).reshape('c', shape);
    INDArray y = layers != null ? layers.output(x, false) : graph.output(false, x)[0];
    return y.reshape(y.length()).toFloatVector();
  }

  /** Milliseconds of one run: the median, with the arrays made and read as a program does. */
  private double latency(float[] sample, int[] shape, int runs) {
    for (int i = 0; i < 50; i++) run(sample, shape);
    double[] times = new double[runs];
    for (int i = 0; i < runs; i++) {
      long begun = System.nanoTime();
      run(sample, shape);
      times[i] = millis(begun);
    }
    Arrays.sort(times);
    return times[runs / 2];
  }

  private static float[][] read(Path path, int size) throws IOException {
    FloatBuffer values = ByteBuffer.wrap(Files.readAllBytes(path)).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
    float[][] samples = new float[values.remaining() / size][size];
    for (float[] sample : samples) values.get(sample);
    return samples;
  }

  /** Values between -1 and 1, the same every time. */
  private static float[] madeUp(int size) {
    float[] sample = new float[size];
    for (int i = 0; i < size; i++) sample[i] = (float) Math.sin(i);
    return sample;
  }

  private static int argmax(float[] scores) {
    int best = 0;
    for (int i = 1; i < scores.length; i++) if (scores[i] > scores[best]) best = i;
    return best;
  }

  private static double millis(long since) {
    return (System.nanoTime() - since) / 1e6;
  }
}
